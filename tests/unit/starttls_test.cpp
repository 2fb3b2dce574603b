#include "userspace/agent/starttls.h"

#include <gtest/gtest.h>

#include <string_view>

namespace sluice::agent {
namespace {

using policy::Protocol;
using Asks = Command::Kind;
using Says = Reply::Kind;
using namespace std::string_view_literals;

std::span<const std::uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

Command command(Protocol protocol, std::string_view text) {
    return read_command(protocol, bytes_of(text));
}

Reply reply(Protocol protocol, std::string_view asked, std::string_view text) {
    return read_reply(protocol, command(protocol, asked), bytes_of(text));
}

constexpr std::string_view ssl_request = "\0\0\0\x08\x04\xd2\x16\x2f"sv;
constexpr std::string_view gss_request = "\0\0\0\x08\x04\xd2\x16\x30"sv;

TEST(StartTls, CommandsThatLeadThereAreToldFromThoseThatDoNot) {
    EXPECT_EQ(command(Protocol::smtp, "STARTTLS\r\n").kind, Asks::starts_tls);
    EXPECT_EQ(command(Protocol::smtp, "starttls\n").kind, Asks::starts_tls);
    EXPECT_EQ(command(Protocol::smtp, "EHLO me.example\r\n").kind, Asks::harmless);
    EXPECT_EQ(command(Protocol::smtp, "MAIL FROM:<a@example.com>\r\n").kind, Asks::other);
    EXPECT_EQ(command(Protocol::smtp, "STARTTLS now\r\n").kind, Asks::other);
    EXPECT_EQ(command(Protocol::smtp, "NOOP \rMAIL FROM:<a@example.com>\r\n").kind, Asks::other);
    EXPECT_EQ(command(Protocol::smtp, "STARTTLS\r\r\n").kind, Asks::other);
    EXPECT_EQ(command(Protocol::imap, "a1 STARTTLS\r\n").kind, Asks::starts_tls);
    EXPECT_EQ(command(Protocol::imap, "a1 STARTTLS\r\n").tag, "a1");
    EXPECT_EQ(command(Protocol::imap, "a1 capability\r\n").kind, Asks::harmless);
    EXPECT_EQ(command(Protocol::imap, "a1 LOGIN me secret\r\n").kind, Asks::other);
    EXPECT_EQ(command(Protocol::imap, "a1 ID {5}\r\n").kind, Asks::other) << "a literal";
    EXPECT_EQ(command(Protocol::imap, " STARTTLS\r\n").kind, Asks::other) << "without a tag";
    EXPECT_EQ(command(Protocol::pop3, "STLS\r\n").kind, Asks::starts_tls);
    EXPECT_EQ(command(Protocol::pop3, "CAPA\r\n").kind, Asks::harmless);
    EXPECT_EQ(command(Protocol::pop3, "USER me\r\n").kind, Asks::other);
    EXPECT_EQ(command(Protocol::postgresql, ssl_request).kind, Asks::starts_tls);
    EXPECT_EQ(command(Protocol::postgresql, gss_request).kind, Asks::harmless);
    EXPECT_EQ(command(Protocol::postgresql, "\0\0\0\x54\0\x03\0\0user"sv).kind, Asks::other);
}

TEST(StartTls, ACommandIsOneLineAndNoMore) {
    const Command first = command(Protocol::smtp, "STARTTLS\r\nMAIL FROM:<evil@example.com>\r\n");
    EXPECT_EQ(first.kind, Asks::starts_tls);
    EXPECT_EQ(first.bytes, 10u);
    for (std::size_t length = 0; length < 10; ++length) {
        EXPECT_EQ(command(Protocol::smtp, "STARTTLS\r\n"sv.substr(0, length)).kind, Asks::incomplete);
        if (length < 8)
            EXPECT_EQ(command(Protocol::postgresql, ssl_request.substr(0, length)).kind, Asks::incomplete);
    }
    EXPECT_EQ(command(Protocol::smtp, std::string(command_bytes_max, 'x')).kind, Asks::other);
    EXPECT_EQ(command(Protocol::smtp, "STARTTLS\0\r\n"sv).kind, Asks::other);
}

TEST(StartTls, OnlyTheAnswerToItAgrees) {
    EXPECT_EQ(reply(Protocol::smtp, "STARTTLS\r\n", "220 go ahead\r\n").kind, Says::agrees);
    EXPECT_EQ(reply(Protocol::smtp, "STARTTLS\r\n", "454 not now\r\n").kind, Says::complete);
    EXPECT_EQ(reply(Protocol::smtp, "NOOP\r\n", "220 go ahead\r\n").kind, Says::complete);
    EXPECT_EQ(reply(Protocol::imap, "a1 STARTTLS\r\n", "a1 OK begin\r\n").kind, Says::agrees);
    EXPECT_EQ(reply(Protocol::imap, "a1 STARTTLS\r\n", "* OK begin\r\n").kind, Says::incomplete);
    EXPECT_EQ(reply(Protocol::imap, "a1 STARTTLS\r\n", "a2 OK begin\r\n").kind, Says::incomplete);
    EXPECT_EQ(reply(Protocol::imap, "a1 STARTTLS\r\n", "a1 BAD no\r\n").kind, Says::complete);
    EXPECT_EQ(reply(Protocol::pop3, "STLS\r\n", "+OK begin\r\n").kind, Says::agrees);
    EXPECT_EQ(reply(Protocol::pop3, "STLS\r\n", "-ERR no\r\n").kind, Says::complete);
    EXPECT_EQ(reply(Protocol::postgresql, ssl_request, "S").kind, Says::agrees);
    EXPECT_EQ(reply(Protocol::postgresql, ssl_request, "N").kind, Says::complete);
    EXPECT_EQ(reply(Protocol::postgresql, gss_request, "S").kind, Says::complete);
}

TEST(StartTls, AReplyIsAllItsLinesAndNoMore) {
    const Reply lines = reply(Protocol::smtp, "EHLO me\r\n", "250-one\r\n250-STARTTLS\r\n250 end\r\nmore");
    EXPECT_EQ(lines.kind, Says::complete);
    EXPECT_EQ(lines.bytes, 32u);
    EXPECT_EQ(reply(Protocol::smtp, "EHLO me\r\n", "250-one\r\n250").kind, Says::incomplete);
    const Reply list = reply(Protocol::pop3, "CAPA\r\n", "+OK\r\nSTLS\r\n.\r\nmore");
    EXPECT_EQ(list.kind, Says::complete);
    EXPECT_EQ(list.bytes, 14u);
    EXPECT_EQ(reply(Protocol::pop3, "CAPA\r\n", "+OK\r\nSTLS\r\n").kind, Says::incomplete);
    EXPECT_EQ(reply(Protocol::pop3, "CAPA\r\n", "-ERR\r\n").kind, Says::complete);
    EXPECT_EQ(reply(Protocol::imap, "a CAPABILITY\r\n", "* CAPABILITY STARTTLS\r\na OK\r\n").bytes, 29u);
    EXPECT_EQ(reply(Protocol::postgresql, ssl_request, "Sx").bytes, 1u);
}

TEST(StartTls, AGreetingIsPassedOnBeforeAnyCommand) {
    const auto greeting = [](Protocol protocol, std::string_view text) {
        return read_greeting(protocol, bytes_of(text));
    };
    EXPECT_EQ(greeting(Protocol::smtp, "220-one\r\n220 two\r\nx").bytes, 18u);
    EXPECT_EQ(greeting(Protocol::imap, "* OK ready\r\n").bytes, 12u);
    EXPECT_EQ(greeting(Protocol::pop3, "+OK ready\r\n").bytes, 11u);
    EXPECT_EQ(greeting(Protocol::pop3, "+OK ready").kind, Says::incomplete);
    EXPECT_EQ(greeting(Protocol::postgresql, "").kind, Says::complete);
    EXPECT_EQ(greeting(Protocol::smtp, "220 two\r\n").kind, Says::complete) << "it agrees to nothing";
}

}  // namespace
}  // namespace sluice::agent
