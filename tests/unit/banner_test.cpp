#include "userspace/agent/banner.h"

#include <gtest/gtest.h>

#include <string_view>

namespace sluice::agent {
namespace {

using policy::Protocol;
using namespace std::string_view_literals;

std::optional<Banner> read(std::string_view text, std::uint16_t port = 4000, bool is_all = false) {
    return read_banner({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, port, is_all);
}

constexpr auto undecided = static_cast<Protocol>(99);

Protocol protocol(std::string_view text, std::uint16_t port = 4000, bool is_all = false) {
    const auto banner = read(text, port, is_all);
    return banner ? banner->protocol : undecided;
}

constexpr std::string_view mysql =
    "\x4a\0\0\0\x0a"
    "8.0.36-0ubuntu\0rest of it"sv;
constexpr std::string_view mariadb =
    "\x59\0\0\0\x0a"
    "5.5.5-10.11.6-MariaDB-0+deb12u1\0..."sv;
constexpr std::string_view host_is_blocked = "\x45\0\0\0\xff\x69\x04Host '10.0.0.1' is not allowed"sv;

TEST(Banner, IsTheProtocolThatTheServerGreetsIn) {
    EXPECT_EQ(protocol("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"), Protocol::ssh);
    EXPECT_EQ(protocol("220 mail.example.com ESMTP Postfix\r\n"), Protocol::smtp);
    EXPECT_EQ(protocol("220 (vsFTPd 3.0.3)\r\n"), Protocol::ftp);
    EXPECT_EQ(protocol(mysql), Protocol::mysql);
    EXPECT_EQ(protocol(mariadb), Protocol::mysql);
    EXPECT_EQ(protocol(host_is_blocked), Protocol::mysql);
    EXPECT_EQ(protocol("* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.\r\n"), Protocol::imap);
    EXPECT_EQ(protocol("* PREAUTH welcome back\r\n"), Protocol::imap);
    EXPECT_EQ(protocol("+OK POP3 ready <1896.697170952@dbc.example>\r\n"), Protocol::pop3);
    EXPECT_EQ(protocol("RFB 003.008\n"), Protocol::rfb);
    EXPECT_EQ(protocol("\xff\xfd\x18\xff\xfd\x20"), Protocol::telnet);
}

TEST(Banner, WhatIsNoneOfTheseIsServerFirst) {
    for (const std::string_view text :
         {"it is noon"sv, "\x15\x03\x03\0\x02"sv, "HTTP/1.1 408 Request Timeout\r\n"sv, "\xff\xff"sv,
          "* OKAY\r\n"sv, "+OKAY"sv, "RFB 00x.008\n"sv, "2200 mail ESMTP\r\n"sv, "\x4a\0\0\0\x0a\0"sv,
          "\x4a\0\0\0\x0b"sv, "\0\0\0\0"sv, "SSH2\r\n"sv, "299 hello\r\n"sv}) {
        EXPECT_EQ(protocol(text), Protocol::server_first) << text;
    }
}

TEST(Banner, EveryPrefixIsUndecidedOrHasTheSameAnswer) {
    for (const std::string_view text :
         {"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"sv, "220 mail.example.com ESMTP Postfix\r\n"sv,
          "220-first line\r\n220 ftp.example.com FTP server\r\n"sv, mysql, mariadb, host_is_blocked,
          "* OK ready\r\n"sv, "+OK ready\r\n"sv, "-ERR busy\r\n"sv, "RFB 003.008\n"sv, "\xff\xfb\x01"sv}) {
        const Protocol whole = protocol(text);
        ASSERT_NE(whole, undecided) << text;
        for (std::size_t length = 1; length < text.size(); ++length) {
            const Protocol early = protocol(text.substr(0, length));
            EXPECT_TRUE(early == undecided || early == whole) << text.substr(0, length);
        }
    }
}

TEST(Banner, MailAndFilesAreToldByTheirWordsThenByTheirPort) {
    EXPECT_EQ(protocol("220 ftp.example.com ESMTP\r\n", 21), Protocol::smtp);
    EXPECT_EQ(protocol("220 smtp.example.com FTP server ready\r\n", 25), Protocol::ftp);
    EXPECT_EQ(protocol("220---------- Welcome to Pure-FTPd [privsep] [TLS] ----------\r\n"), Protocol::ftp);
    EXPECT_EQ(protocol("220 ProFTPD Server (Debian) [::ffff:192.0.2.1]\r\n"), Protocol::ftp);
    EXPECT_EQ(protocol("554 mx.example ESMTP not accepting messages\r\n"), Protocol::smtp);
    EXPECT_EQ(protocol("220 hello\r\n", 25), Protocol::smtp);
    EXPECT_EQ(protocol("220 hello\r\n", 21), Protocol::ftp);
    EXPECT_EQ(protocol("220 hello\r\n", 4000), Protocol::server_first);
    EXPECT_EQ(protocol("220 smtp and ftp\r\n", 21), Protocol::ftp);
    EXPECT_EQ(protocol("220-hello\r\n220-we are\r\n", 4000), undecided) << "the next line may say it";
    EXPECT_EQ(protocol("220-hello\r\n220 an ESMTP server\r\n", 4000), Protocol::smtp);
}

TEST(Banner, AnSshVersionIsTheFirstLineThatBeginsSoWhateverIsInIt) {
    EXPECT_EQ(read("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")->ssh_version, "2.0-OpenSSH_9.2p1 Debian-2");
    EXPECT_EQ(read("welcome\r\nSSH-2.0-x\n")->ssh_version, "2.0-x");
    EXPECT_EQ(read("SSH-2.0-a\0b\x1b[31m\r\n"sv)->ssh_version, "2.0-a\0b\x1b[31m"sv);
    EXPECT_EQ(read("SSH-2.0-no end"), std::nullopt);
    EXPECT_EQ(read("SSH-2.0-no end", 22, true)->ssh_version, "2.0-no end");
    EXPECT_EQ(read("SSH-" + std::string(300, 'x'))->ssh_version, std::string(251, 'x'));
}

TEST(Banner, WhatIsTooLongOrOverIsJudgedByWhatThereIs) {
    EXPECT_EQ(protocol("220-" + std::string(1 << 20, 'x'), 25), Protocol::smtp);
    EXPECT_EQ(protocol("220-" + std::string(1 << 20, 'x')), Protocol::server_first);
    EXPECT_EQ(protocol("220 mail ESMTP", 4000), undecided);
    EXPECT_EQ(protocol("220 mail ESMTP", 4000, true), Protocol::smtp);
    EXPECT_EQ(protocol("", 25, true), Protocol::server_first);
    EXPECT_EQ(protocol("2", 25, true), Protocol::server_first);
}

}  // namespace
}  // namespace sluice::agent
