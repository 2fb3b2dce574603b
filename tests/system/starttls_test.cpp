// Protocols that begin in the clear and turn to TLS: judged by the name in the hello that comes then.
#include <gtest/gtest.h>

#include <mutex>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* mail_policy = R"(
splice: auto
peek: {silence_ms: 50}
policy:
  default: deny
  rules:
    - {name: good mail, protocol: [smtp, imap, pop3, postgresql], server_name: "suffix:allowed.example", action: allow}
    - {name: clear mail, protocol: smtp, server_name: none, port: 2525, action: allow}
)";

// Answers each of the client's first messages in turn, as they are expected; then echoes.
struct Turn {
    std::string expected;
    std::string answer;
};

class Speaker {
  public:
    Speaker(const Lab& lab, std::uint16_t port, std::string greeting, std::vector<Turn> turns,
            milliseconds pause = 0ms)
        : server_(lab.server(), port, [this, greeting, turns, pause](TcpSocket& socket) {
              socket.send(greeting);
              for (const Turn& turn : turns) {
                  note(socket.receive_exactly(turn.expected.size()));
                  std::this_thread::sleep_for(pause);
                  socket.send(turn.answer);
              }
              StreamEnd end = StreamEnd::silence;
              for (;;) {
                  const std::string more = socket.receive_some(4096, end);
                  if (more.empty()) return;
                  note(more);
                  socket.send(more);
              }
          }) {}
    std::string heard() const {
        const std::lock_guard lock(mutex_);
        return heard_;
    }

  private:
    void note(const std::string& text) {
        const std::lock_guard lock(mutex_);
        heard_ += text;
    }
    mutable std::mutex mutex_;
    std::string heard_;
    TcpServer server_;
};

const std::vector<Turn> smtp_turns = {{"EHLO me\r\n", "250-mail\r\n250 STARTTLS\r\n"},
                                      {"STARTTLS\r\n", "220 go ahead\r\n"}};

// The client's side of it, as far as the server's word.
TcpSocket start_tls(const Lab& lab, std::uint16_t port, const std::string& greeting,
                    const std::vector<Turn>& turns) {
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(port));
    EXPECT_EQ(client.receive_exactly(greeting.size()), greeting);
    for (const Turn& turn : turns) {
        client.send(turn.expected);
        EXPECT_EQ(client.receive_exactly(turn.answer.size()), turn.answer);
    }
    return client;
}

TEST(StartTls, AnAllowedNameAfterItPassesByteForByte) {
    const Lab lab;
    const std::string greeting = "220 mail ESMTP\r\n";
    const Speaker server(lab, 25, greeting, smtp_turns);
    Gateway gateway(lab, mail_policy);
    TcpSocket client = start_tls(lab, 25, greeting, smtp_turns);
    const std::string hello = build_hello({.server_name = "mx.allowed.example"});
    client.send(hello + "and more");
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().bytes, hello + "and more");
    EXPECT_EQ(server.heard(), "EHLO me\r\nSTARTTLS\r\n" + hello + "and more");
    const JsonRecord verdict = gateway.wait_for("verdict", client.local());
    EXPECT_EQ(verdict.text("protocol"), "smtp");
    EXPECT_EQ(verdict.text("server_name"), "mx.allowed.example");
    EXPECT_FALSE(verdict.text("ja4").empty());
    const JsonRecord end = gateway.wait_for("end", client.local());
    EXPECT_EQ(end.text("mode") + " " + end.text("reason"), "relay starttls");
    EXPECT_EQ(end.number("bytes_up"), hello.size() + 8 + 19);
    EXPECT_EQ(gateway.count_lines("verdict"), 1u);
}

TEST(StartTls, ADeniedNameAfterItNeverReachesTheServer) {
    const Lab lab;
    const std::string greeting = "* OK IMAP4rev1 ready\r\n";
    const std::vector<Turn> turns = {{"a1 CAPABILITY\r\n", "* CAPABILITY STARTTLS\r\na1 OK\r\n"},
                                     {"a2 STARTTLS\r\n", "a2 OK begin\r\n"}};
    const Speaker server(lab, 143, greeting, turns);
    Gateway gateway(lab, mail_policy);
    TcpSocket client = start_tls(lab, 143, greeting, turns);
    client.send(build_hello({.server_name = "denied.example"}));
    EXPECT_EQ(client.receive_to_end().bytes, "");
    const JsonRecord verdict = gateway.wait_for("verdict", client.local());
    EXPECT_EQ(verdict.text("decision"), "deny");
    EXPECT_EQ(verdict.text("server_name"), "denied.example");
    EXPECT_EQ(server.heard(), "a1 CAPABILITY\r\na2 STARTTLS\r\n");
}

TEST(StartTls, BytesBeforeTheServersWordAreRefused) {
    const Lab lab;
    const std::string greeting = "+OK ready\r\n";
    const Speaker server(lab, 110, greeting, {{"STLS\r\n", "+OK begin\r\n"}});
    Gateway gateway(lab, mail_policy);
    TcpSocket client = start_tls(lab, 110, greeting, {});
    client.send("STLS\r\nUSER evil\r\n");
    EXPECT_EQ(client.receive_to_end().bytes, "");
    const JsonRecord verdict = gateway.wait_for("verdict", client.local());
    EXPECT_EQ(verdict.text("protocol"), "malformed");
    EXPECT_EQ(verdict.text("began_as"), "pop3");
    EXPECT_EQ(server.heard(), "");
}

TEST(StartTls, BytesWhileTheServerThinksAreRefused) {
    const Lab lab;
    const std::string greeting = "+OK ready\r\n";
    const Speaker server(lab, 110, greeting, {{"STLS\r\n", "+OK begin\r\n"}}, 300ms);
    Gateway gateway(lab, mail_policy);
    TcpSocket client = start_tls(lab, 110, greeting, {});
    client.send("STLS\r\n");
    ASSERT_TRUE(wait_until([&] { return server.heard() == "STLS\r\n"; }));
    client.send("USER evil\r\n");
    EXPECT_EQ(client.receive_to_end().bytes, "");
    EXPECT_EQ(gateway.wait_for("verdict", client.local()).text("protocol"), "malformed");
    EXPECT_EQ(server.heard(), "STLS\r\n");
}

TEST(StartTls, WhoeverStaysInTheClearIsJudgedWithoutAName) {
    const Lab lab;
    const std::string greeting = "220 mail ESMTP\r\n";
    const std::vector<Turn> turns = {{"EHLO me\r\n", "250 mail\r\n"}};
    const Speaker strict(lab, 25, greeting, turns);
    const Speaker lenient(lab, 2525, greeting, turns);
    Gateway gateway(lab, mail_policy);
    const std::string command = "MAIL FROM:<me@allowed.example>\r\n";
    TcpSocket denied = start_tls(lab, 25, greeting, turns);
    denied.send(command);
    EXPECT_EQ(denied.receive_to_end().bytes, "");
    EXPECT_EQ(gateway.wait_for("end", denied.local()).text("end"), "denied");
    EXPECT_EQ(strict.heard(), "EHLO me\r\n");
    TcpSocket allowed = start_tls(lab, 2525, greeting, turns);
    allowed.send(command);
    allowed.shutdown_write();
    EXPECT_EQ(allowed.receive_to_end().bytes, command);
    EXPECT_EQ(gateway.wait_for("verdict", allowed.local()).text("rule"), "clear mail");
}

TEST(StartTls, PostgresqlIsAskedForItsName) {
    const Lab lab;
    using namespace std::string_literals;
    const std::vector<Turn> turns = {{"\0\0\0\x08\x04\xd2\x16\x30"s, "N"},
                                     {"\0\0\0\x08\x04\xd2\x16\x2f"s, "S"}};
    const Speaker server(lab, 5432, "", turns);
    Gateway gateway(lab, mail_policy);
    TcpSocket client = start_tls(lab, 5432, "", turns);
    const std::string hello = build_hello({.server_name = "db.allowed.example"});
    client.send(hello);
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().bytes, hello);
    EXPECT_EQ(gateway.wait_for("verdict", client.local()).text("protocol"), "postgresql");
    TcpSocket other = start_tls(lab, 5432, "", turns);
    other.send(build_hello({.server_name = "denied.example"}));
    EXPECT_EQ(other.receive_to_end().bytes, "");
    EXPECT_EQ(gateway.wait_for("end", other.local()).text("end"), "denied");
}

TEST(StartTls, WhereNoRuleAsksForANameItIsNotWaitedFor) {
    const Lab lab;
    const std::string greeting = "220 mail ESMTP\r\n";
    const Speaker server(lab, 25, greeting, smtp_turns);
    Gateway gateway(lab,
                    "peek: {silence_ms: 50}\npolicy:\n  default: deny\n  rules:\n"
                    "    - {name: mail, protocol: smtp, action: allow}\n");
    TcpSocket client = start_tls(lab, 25, greeting, smtp_turns);
    const policy::Endpoint source = client.local();
    client.close();
    EXPECT_EQ(gateway.wait_for("end", source).text("mode"), default_splice_mode());
}

}  // namespace
}  // namespace sluice::test
