// Servers that speak first are judged by what they say, and until then neither side has got a byte.
#include <gtest/gtest.h>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* policy = R"(
peek: {silence_ms: 50}
policy:
  default: deny
  rules:
    - {name: shell, protocol: ssh, ssh_server_version: "2.0-OpenSSH_*", action: allow}
    - {name: mail, protocol: smtp, action: allow}
    - {name: no more, protocol: server-first, action: deny, style: close}
)";

// Greets, and notes what the client says and how it ends.
class Greeter {
  public:
    Greeter(const Lab& lab, std::vector<std::string> pieces, milliseconds pause = 0ms)
        : server_(lab.server(), 4000, [this, pieces, pause](TcpSocket& socket) {
              for (const std::string& piece : pieces) {
                  socket.send(piece);
                  std::this_thread::sleep_for(pause);
              }
              const Received heard = socket.receive_to_end();
              const std::lock_guard lock(mutex_);
              heard_ = heard;
          }) {}
    std::optional<Received> heard() const {
        wait_until([&] {
            const std::lock_guard lock(mutex_);
            return heard_.has_value();
        });
        const std::lock_guard lock(mutex_);
        return heard_;
    }

  private:
    mutable std::mutex mutex_;
    std::optional<Received> heard_;
    TcpServer server_;
};

// The gateway's only flow: connected, and nobody has said enough yet.
bool waits_for_the_server(const Gateway& gateway) {
    return wait_until([&] {
        const auto flows = gateway.flows();
        return flows.size() == 1 && flows[0].text("state") == "waiting";
    });
}

TEST(Greeting, AllowedByWhatItSaysReachesTheClient) {
    const Lab lab;
    const std::string banner = "SSH-2.0-OpenSSH_9.2p1 \x1b[31m\x01\r\n";
    const Greeter server(lab, {banner});
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(4000));
    const policy::Endpoint source = client.local();
    EXPECT_EQ(client.receive_exactly(banner.size()), banner);
    client.send("SSH-2.0-me\r\n");
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
    EXPECT_EQ(server.heard()->bytes, "SSH-2.0-me\r\n");
    const JsonRecord verdict = gateway.wait_for("verdict", source);
    EXPECT_EQ(verdict.text("protocol"), "ssh");
    EXPECT_EQ(verdict.text("rule"), "shell");
    EXPECT_EQ(verdict.text("ssh_server_version"), "2.0-OpenSSH_9.2p1 \x1b[31m\x01") << "escaped in the log";
    const JsonRecord end = gateway.wait_for("end", source);
    EXPECT_EQ(end.text("mode"), default_splice_mode());
    EXPECT_EQ(gateway.count_lines("verdict"), 1u) << "one verdict a flow";
}

TEST(Greeting, DeniedByWhatItSaysReachesNobody) {
    const Lab lab;
    const Greeter server(lab, {"220 ftp.example FTP server ready\r\n"});
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(4000));
    const policy::Endpoint source = client.local();
    const Received heard = client.receive_to_end();
    EXPECT_EQ(heard.bytes, "");
    EXPECT_EQ(heard.end, StreamEnd::eof) << "in the rule's style";
    EXPECT_EQ(server.heard()->bytes, "");
    EXPECT_EQ(server.heard()->end, StreamEnd::reset);
    const JsonRecord verdict = gateway.wait_for("verdict", source);
    EXPECT_EQ(verdict.text("protocol"), "ftp");
    EXPECT_EQ(verdict.text("rule"), "no more");
    EXPECT_EQ(gateway.wait_for("end", source).text("end"), "denied");
}

TEST(Greeting, InSmallPiecesIsWaitedFor) {
    const Lab lab;
    const Greeter server(lab, {"2", "20 ", "mail ", "ESM", "TP\r", "\n"}, 60ms);
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(4000));
    EXPECT_EQ(client.receive_exactly(16), "220 mail ESMTP\r\n");
    EXPECT_EQ(gateway.wait_for("verdict", client.local()).text("rule"), "mail");
}

TEST(Greeting, AMegabyteOfItArrivesWhole) {
    const Lab lab;
    const std::string banner = "220 mail ESMTP" + std::string(1 << 20, 'x') + "\r\n";
    const Greeter server(lab, {banner});
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(4000));
    EXPECT_EQ(client.receive_exactly(banner.size()), banner);
    EXPECT_EQ(gateway.wait_for("verdict", client.local()).text("rule"), "mail");
}

TEST(Greeting, AClientThatSpeaksBeforeItIsWholeIsJudgedByItsOwnWords) {
    const Lab lab;
    const Greeter server(lab, {"220 mail ESM"});
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(4000));
    const policy::Endpoint source = client.local();
    ASSERT_TRUE(waits_for_the_server(gateway));
    client.send(build_hello({.server_name = "denied.example"}));
    EXPECT_EQ(client.receive_to_end().bytes, "");
    EXPECT_EQ(server.heard()->bytes, "");
    const JsonRecord verdict = gateway.wait_for("verdict", source);
    EXPECT_EQ(verdict.text("protocol"), "tls");
    EXPECT_EQ(verdict.text("rule"), "default");
}

TEST(Greeting, AClientThatHangsUpMeanwhileEndsTheFlow) {
    const Lab lab;
    const Greeter server(lab, {"220 mail ESM"});
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(4000));
    const policy::Endpoint source = client.local();
    ASSERT_TRUE(waits_for_the_server(gateway));
    client.reset();
    EXPECT_EQ(gateway.wait_for("end", source).text("end"), "client_gone");
    EXPECT_EQ(server.heard()->bytes, "");
}

TEST(Greeting, WithoutAnyHopeTheServerNeverHearsOfTheClient) {
    const Lab lab;
    const Greeter server(lab, {"SSH-2.0-OpenSSH_9.2p1\r\n"});
    Gateway gateway(lab,
                    "peek: {silence_ms: 50}\npolicy:\n  default: deny\n  rules:\n"
                    "    - {name: not here, port: 4000, action: deny}\n"
                    "    - {name: shell, protocol: ssh, action: allow}\n");
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(4000));
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("end").text("rule"), "not here");
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
}

}  // namespace
}  // namespace sluice::test
