#include "userspace/agent/connect_request.h"

#include <gtest/gtest.h>

namespace sluice::agent {
namespace {

using Status = ConnectRequest::Status;

ConnectRequest parse(std::string_view text) {
    return parse_connect_request({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

TEST(ConnectRequest, NamesItsTarget) {
    const ConnectRequest name = parse("CONNECT WWW.Example.com.:443 HTTP/1.1\r\nHost: x\r\n\r\nrest");
    ASSERT_EQ(name.status, Status::complete);
    EXPECT_EQ(name.target.name, "www.example.com");
    EXPECT_EQ(name.target.port, 443);
    EXPECT_FALSE(name.target.address);
    EXPECT_EQ(name.bytes,
              std::string_view("CONNECT WWW.Example.com.:443 HTTP/1.1\r\nHost: x\r\n\r\n").size());

    const ConnectRequest v4 = parse("CONNECT 192.0.2.1:22 HTTP/1.0\r\n\r\n");
    ASSERT_EQ(v4.status, Status::complete);
    EXPECT_EQ(v4.target.address->to_string(), "192.0.2.1");
    EXPECT_EQ(v4.target.name, "");

    const ConnectRequest v6 = parse("CONNECT [2001:db8::1]:65535 HTTP/1.1\r\nA:\t b \r\n\r\n");
    ASSERT_EQ(v6.status, Status::complete);
    EXPECT_EQ(v6.target.address->to_string(), "2001:db8::1");
    EXPECT_EQ(v6.target.port, 65535);
}

TEST(ConnectRequest, EveryPrefixIsIncomplete) {
    const std::string_view head = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nA: b\r\n\r\n";
    for (std::size_t length = 0; length < head.size(); ++length)
        EXPECT_EQ(parse(head.substr(0, length)).status, Status::incomplete) << length;
    EXPECT_EQ(parse(head).status, Status::complete);
    EXPECT_EQ(parse(head).bytes, head.size());
}

TEST(ConnectRequest, WhatIsNoConnectIsRefusedWithItsReason) {
    const std::pair<std::string_view, unsigned> refused[] = {
        {"GET http://a.example/ HTTP/1.1\r\n", 405},
        {"connect a.example:443 HTTP/1.1\r\n", 405},
        {"CONNECT a.example:443 HTTP/2.0\r\n", 505},
        {"CONNECT a.example:443 HTTP/1.1\n", 400},
        {"CONNECT a.example:443\r\n", 400},
        {"CONNECT  a.example:443 HTTP/1.1\r\n", 400},
        {"CONNECT a.example HTTP/1.1\r\n", 400},
        {"CONNECT a.example: HTTP/1.1\r\n", 400},
        {"CONNECT a.example:0 HTTP/1.1\r\n", 400},
        {"CONNECT a.example:65536 HTTP/1.1\r\n", 400},
        {"CONNECT a.example:+443 HTTP/1.1\r\n", 400},
        {"CONNECT a.example:443x HTTP/1.1\r\n", 400},
        {"CONNECT :443 HTTP/1.1\r\n", 400},
        {"CONNECT 2001:db8::1:443 HTTP/1.1\r\n", 400},
        {"CONNECT [192.0.2.1]:443 HTTP/1.1\r\n", 400},
        {"CONNECT [a.example]:443 HTTP/1.1\r\n", 400},
        {"CONNECT [fe80::1%eth0]:443 HTTP/1.1\r\n", 400},
        {"CONNECT user@a.example:443 HTTP/1.1\r\n", 400},
        {"CONNECT http://a.example:443 HTTP/1.1\r\n", 400},
        {"CONNECT a b:443 HTTP/1.1\r\n", 400},
        {"CONNECT 127.1:443 HTTP/1.1\r\n", 400},
        {"CONNECT 0x7f000001:443 HTTP/1.1\r\n", 400},
        {"CONNECT 2130706433:443 HTTP/1.1\r\n", 400},
        {"CONNECT 127.0.0.1.:443 HTTP/1.1\r\n", 400},
        {"CONNECT a.example:443 HTTP/1.1\r\n folded\r\n", 400},
        {"CONNECT a.example:443 HTTP/1.1\r\nno field\r\n", 400},
        {"CONNECT a.example:443 HTTP/1.1\r\nA : b\r\n", 400},
        {"CONNECT a.example:443 HTTP/1.1\r\nA: b\rc\r\n", 400},
        {std::string_view("CONNECT a.example:443 HTTP/1.1\r\nA: \0\r\n", 38), 400},
        {"CONNECT a.example:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", 400},
        {"CONNECT a.example:443 HTTP/1.1\r\ncontent-length: 5\r\n", 400},
        {"\r\n", 400},
    };
    for (const auto& [text, status] : refused) {
        EXPECT_EQ(parse(text).status, Status::refused) << text;
        EXPECT_EQ(parse(text).http_status, status) << text;
    }
    EXPECT_EQ(parse("CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 0\r\n\r\n").status, Status::complete);
}

TEST(ConnectRequest, AHeadHasItsLimit) {
    std::string head = "CONNECT a.example:443 HTTP/1.1\r\nA: ";
    head.append(connect_head_bytes_max - head.size() - 4, 'x');
    EXPECT_EQ(parse(head + "\r\n\r\n").status, Status::complete);
    EXPECT_EQ(parse(head + "x\r\n\r\n").http_status, 431u);
    EXPECT_EQ(parse(std::string(connect_head_bytes_max, 'C')).http_status, 431u);
}

}  // namespace
}  // namespace sluice::agent
