#include "userspace/agent/socks_request.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::agent {
namespace {

using namespace std::string_literals;

std::span<const std::uint8_t> bytes(const std::string& text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

const std::string by_v4 = "\5\1\0\1\300\0\2\1\0\26"s;
const std::string by_name = "\5\1\0\3\13WWW.example\1\273"s;
const std::string by_v6 = "\5\1\0\4\x20\1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\1\1\273"s;

TEST(SocksRequest, AGreetingOffersMethods) {
    const SocksGreeting greeting = parse_socks_greeting(bytes("\5\2\2\0rest"s));
    EXPECT_EQ(greeting.status, SocksStatus::complete);
    EXPECT_EQ(greeting.bytes, 4u);
    EXPECT_TRUE(greeting.no_authentication);
    EXPECT_FALSE(parse_socks_greeting(bytes("\5\1\2"s)).no_authentication);
    EXPECT_EQ(parse_socks_greeting(bytes("\5\0"s)).status, SocksStatus::refused);
    EXPECT_EQ(parse_socks_greeting(bytes("\4\1\0"s)).status, SocksStatus::refused);
}

TEST(SocksRequest, NamesItsTarget) {
    const SocksRequest v4 = parse_socks_request(bytes(by_v4 + "rest"));
    ASSERT_EQ(v4.status, SocksStatus::complete);
    EXPECT_EQ(v4.bytes, by_v4.size());
    EXPECT_EQ(v4.target.address->to_string(), "192.0.2.1");
    EXPECT_EQ(v4.target.port, 22);

    const SocksRequest name = parse_socks_request(bytes(by_name + "rest"));
    ASSERT_EQ(name.status, SocksStatus::complete);
    EXPECT_EQ(name.bytes, by_name.size());
    EXPECT_EQ(name.target.name, "www.example");
    EXPECT_EQ(name.target.port, 443);

    const SocksRequest v6 = parse_socks_request(bytes(by_v6));
    ASSERT_EQ(v6.status, SocksStatus::complete);
    EXPECT_EQ(v6.target.address->to_string(), "2001:db8::1");
}

TEST(SocksRequest, AnAddressInANamesPlaceIsAnAddress) {
    const SocksRequest request = parse_socks_request(bytes("\5\1\0\3\011127.0.0.1\0\26"s));
    ASSERT_EQ(request.status, SocksStatus::complete);
    EXPECT_EQ(request.target.name, "");
    EXPECT_EQ(request.target.address->to_string(), "127.0.0.1");
}

TEST(SocksRequest, AnAddressOfTheOtherFamilyIsNoWayAround) {
    const SocksRequest request =
        parse_socks_request(bytes("\5\1\0\4\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1\0\26"s));
    ASSERT_EQ(request.status, SocksStatus::complete);
    EXPECT_EQ(request.target.address->to_string(), "127.0.0.1");
}

TEST(SocksRequest, EveryPrefixIsIncomplete) {
    for (const std::string& whole : {by_v4, by_name, by_v6}) {
        for (std::size_t length = 0; length < whole.size(); ++length) {
            const SocksRequest request = parse_socks_request(bytes(whole.substr(0, length)));
            EXPECT_EQ(request.status, SocksStatus::incomplete) << length;
            EXPECT_GT(request.bytes, length);
            EXPECT_LE(request.bytes, whole.size());
        }
    }
    const std::string greeting = "\5\2\0\2"s;
    for (std::size_t length = 0; length < greeting.size(); ++length) {
        const SocksGreeting prefix = parse_socks_greeting(bytes(greeting.substr(0, length)));
        EXPECT_EQ(prefix.status, SocksStatus::incomplete) << length;
        EXPECT_GT(prefix.bytes, length);
    }
}

TEST(SocksRequest, WhatIsNotServedIsRefusedWithItsReply) {
    const std::pair<std::string, SocksReply> refused[] = {
        {"\5\2"s, SocksReply::command_not_supported},              // BIND
        {"\5\3\0\1"s, SocksReply::command_not_supported},          // UDP ASSOCIATE
        {"\5\1\0\2"s, SocksReply::address_type_not_supported},     //
        {"\5\1\1"s, SocksReply::general_failure},                  // reserved
        {"\4\1"s, SocksReply::general_failure},                    // SOCKS4
        {"\5\1\0\1\300\0\2\1\0\0"s, SocksReply::general_failure},  // port 0
        {"\5\1\0\3\0\0\26"s, SocksReply::general_failure},         // no name
        {"\5\1\0\3\3a b\0\26"s, SocksReply::general_failure},      //
        {"\5\1\0\3\3a\0b\0\26"s, SocksReply::general_failure},     //
        {"\5\1\0\3\005127.1\0\26"s, SocksReply::general_failure},  // an old way to write 127.0.0.1
    };
    for (const auto& [text, reply] : refused) {
        const SocksRequest request = parse_socks_request(bytes(text));
        EXPECT_EQ(request.status, SocksStatus::refused) << text;
        EXPECT_EQ(request.reply, reply) << text;
    }
}

}  // namespace
}  // namespace sluice::agent
