#include "userspace/agent/http_request.h"

#include <gtest/gtest.h>

namespace sluice::agent {
namespace {

using Status = HttpRequest::Status;

HttpRequest parse(std::string_view text) {
    return parse_http_request({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

std::string host(std::string_view text) {
    HttpRequest request = parse(text);
    return request.status == Status::complete ? request.host : "not complete";
}

TEST(HttpRequest, TheHostIsTheNameWithoutItsPort) {
    EXPECT_EQ(host("GET / HTTP/1.1\r\nHost: WWW.Example.com.\r\n\r\n"), "www.example.com");
    EXPECT_EQ(host("POST /x HTTP/1.1\r\nA: b\r\nhOsT:\t a.example:8080 \r\nC: d\r\n\r\n\0\0binary body"),
              "a.example");
    EXPECT_EQ(host("GET / HTTP/1.0\n\n"), "");
    EXPECT_EQ(host("GET / HTTP/1.1\nHost: a.example\n\n"), "a.example");
    EXPECT_EQ(host("GET / HTTP/1.1\r\nHost:\r\n\r\n"), "");
}

TEST(HttpRequest, AnAddressIsNoName) {
    for (const char* text : {"192.0.2.1", "192.0.2.1:80", "[2001:db8::1]:80", "192.0.2.1."}) {
        EXPECT_EQ(host(std::string("GET / HTTP/1.1\r\nHost: ") + text + "\r\n\r\n"), "") << text;
    }
}

TEST(HttpRequest, ATargetThatNamesAHostCountsToo) {
    EXPECT_EQ(host("GET http://a.example:80/x HTTP/1.1\r\nHost: a.example\r\n\r\n"), "a.example");
    EXPECT_EQ(host("CONNECT a.example:443 HTTP/1.1\r\n\r\n"), "a.example");
    EXPECT_EQ(host("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n"), "a.example");
    EXPECT_EQ(parse("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n").why,
              "Host and target that differ");
    EXPECT_EQ(parse("GET http://user@a.example/ HTTP/1.1\r\n\r\n").status, Status::malformed);
}

TEST(HttpRequest, Http2HidesItsHost) {
    EXPECT_EQ(host("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "");
}

TEST(HttpRequest, WhatServersReadDifferentlyIsMalformed) {
    for (std::string_view text : {
             std::string_view("GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n"),
             std::string_view("GET / HTTP/1.1\r\nHost: a.example\r\n b.example\r\n\r\n"),
             std::string_view("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n"),
             std::string_view("GET / HTTP/1.1\r\nHost a.example\r\n\r\n"),
             std::string_view("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
             std::string_view("GET / HTTP/1.1\r\nHost: a.example:http\r\n\r\n"),
             std::string_view("GET / HTTP/1.1\r\nHost: a.example\0.b.example\r\n\r\n", 48),
             std::string_view("GET / HTTP/1.1\r\nX: a\rHost: b.example\r\nHost: a.example\r\n\r\n"),
             std::string_view("GET /\rHost: b.example HTTP/1.1\r\nHost: a.example\r\n\r\n"),
             std::string_view("GET /\r\nHost: a.example\r\n\r\n"),
             std::string_view("GET / \r\n\r\n"),
         }) {
        EXPECT_EQ(parse(text).status, Status::malformed) << text;
        EXPECT_FALSE(parse(text).why.empty());
    }
}

TEST(HttpRequest, EveryPrefixOfAHeadIsIncomplete) {
    const std::string_view head = "GET /index.html HTTP/1.1\r\nAccept: */*\r\nHost: a.example\r\n\r\n";
    for (std::size_t length = 0; length < head.size(); ++length)
        EXPECT_EQ(parse(head.substr(0, length)).status, Status::incomplete) << length;
    EXPECT_EQ(parse(head).status, Status::complete);
}

}  // namespace
}  // namespace sluice::agent
