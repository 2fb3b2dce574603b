#include <gtest/gtest.h>

#include "tests/unit/hello_parts.h"
#include "tests/unit/real_hellos.h"
#include "userspace/tls/client_hello.h"

namespace sluice::tls {
namespace {

using namespace sluice::test;

std::string ja4_of(const HelloParts& parts) {
    return ja4(parse_client_hello(stream(parts)));
}

std::string alpn_part(const std::string& protocol) {
    HelloParts parts;
    parts.extensions = {{16, alpn({protocol})}};
    return ja4_of(parts).substr(8, 2);
}

TEST(Ja4, IsThePublishedOneForChromium) {
    EXPECT_EQ(ja4_of(chromium_hello("www.example.com")), "t13d1516h2_8daaf6152771_d8a2da3f94cd");
}

TEST(Ja4, IsThePublishedOneForTheSpecificationsExample) {
    HelloParts parts = chromium_hello("www.example.com");
    for (auto& [type, data] : parts.extensions) {
        if (type == 0x44cd) type = 0x4469;  // the older code point of application settings
        if (type == 0xfe0d) type = 0x0015;  // padding instead of ECH
    }
    EXPECT_EQ(ja4_of(parts), "t13d1516h2_8daaf6152771_e5627efa2ab1");
}

TEST(Ja4, IsThePublishedOneForRealClients) {
    for (const RealHello& real : real_hellos) {
        EXPECT_EQ(ja4(parse_client_hello(from_base64(real.base64))), real.ja4) << real.client;
    }
}

TEST(Ja4, DoesNotChangeWhenTheClientShufflesItsExtensions) {
    HelloParts parts = chromium_hello("www.example.com");
    std::string before = ja4_of(parts);
    std::ranges::reverse(parts.extensions);
    std::ranges::reverse(parts.cipher_suites);
    EXPECT_EQ(ja4_of(parts), before);
}

TEST(Ja4, SaysIWithoutServerNameAndDWithAnAddressInIt) {
    HelloParts parts;
    parts.extensions = {{0, server_name("192.0.2.1")}};
    EXPECT_EQ(ja4_of(parts).substr(0, 8), "t12d0301");
    parts.extensions = {};
    EXPECT_EQ(ja4_of(parts).substr(0, 8), "t12i0300");
}

// The table in JA4.md, "ALPN Extension Value".
TEST(Ja4, WritesAnAlpnThatIsNotAlphanumericInHex) {
    EXPECT_EQ(alpn_part("h2"), "h2");
    EXPECT_EQ(alpn_part("http/1.1"), "h1");
    EXPECT_EQ(alpn_part("q"), "qq");
    EXPECT_EQ(alpn_part("\xab"), "ab");
    EXPECT_EQ(alpn_part("\xab\xcd"), "ad");
    EXPECT_EQ(alpn_part("\x30\xab"), "3b");
    EXPECT_EQ(alpn_part("\x30\x31\xab\xcd"), "3d");
    EXPECT_EQ(alpn_part("\x30\xab\xcd\x31"), "01");
}

TEST(Ja4, WritesZerosForListsThatAreEmptyButForGrease) {
    HelloParts parts;
    parts.cipher_suites = {0x0a0a};
    parts.extensions = {{0xfafa, {}}};
    EXPECT_EQ(ja4_of(parts), "t12i000000_000000000000_000000000000");
}

TEST(Ja4, CountsNoFurtherThan99) {
    HelloParts parts;
    parts.cipher_suites.assign(120, 0x1301);
    parts.extensions.clear();
    for (std::uint16_t type = 0x4000; type < 0x4000 + 150; ++type)
        parts.extensions.push_back({type, {}});
    EXPECT_EQ(ja4_of(parts).substr(0, 10), "t12i999900");
}

TEST(Ja4, TakesTheHighestVersionThatItKnowsTheNameOf) {
    HelloParts parts;
    parts.extensions = {{43, sized(1, numbers({0x0a0a, 0x0302, 0x0304, 0x0303}))}};
    EXPECT_EQ(ja4_of(parts).substr(0, 3), "t13");
    parts.extensions = {{43, sized(1, numbers({0x7f1c, 0x0303}))}};  // a draft of TLS 1.3
    EXPECT_EQ(ja4_of(parts).substr(0, 3), "t00");
    parts.extensions = {};
    parts.legacy_version = 0x0300;
    EXPECT_EQ(ja4_of(parts).substr(0, 3), "ts3");
}

TEST(Ja4, IsEmptyForWhatIsNoHello) {
    Octets whole = stream({});
    whole.pop_back();
    EXPECT_EQ(ja4(parse_client_hello(whole)), "");
    EXPECT_EQ(ja4(parse_client_hello(Octets{'G', 'E', 'T'})), "");
}

}  // namespace
}  // namespace sluice::tls
