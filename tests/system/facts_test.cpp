// What flows are judged by beyond TLS server names, seen from both ends: HTTP's Host, SSH's version, what a
// hello offers, and profiles that only watch.
#include <gtest/gtest.h>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* policy = R"(
peek: {silence_ms: 200}
policy:
  default: deny
  sets:
    addresses: {clients: [10.10.1.0/24, 'fd00:1::/64']}
  profiles:
    - name: trial
      enforce: false
      rows: [{name: odd, server_name: "suffix:odd.example", action: deny}]
    - name: names
      rows:
        - {name: web, protocol: http, server_name: "suffix:allowed.example", action: allow}
        - {name: no-alpn, server_name: "exact:plain.allowed.example", alpn: http/1.1, ech: none, ja4: "t1*", action: deny}
        - {name: tls, protocol: tls, server_name: ["suffix:allowed.example", "suffix:odd.example"], action: allow, log: false}
  rules:
    - {name: watch, use: trial}
    - {name: clients, source: set:clients, use: names}
    - {name: new-ssh, ssh_version: "2.0-*", not: {ssh_version: "*libssh*"}, action: allow}
    - {name: mail, protocol: smtp, action: allow}
)";

// What the client hears after `bytes`, and the verdict on it.
struct Answer {
    Received heard;
    JsonRecord verdict;
};

class Facts : public testing::Test {
  protected:
    Answer say(const std::string& bytes) {
        TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(8080));
        const auto source = client.local();
        client.send(bytes);
        client.shutdown_write();
        const Received heard = client.receive_to_end();
        return {heard, gateway_.wait_for("verdict", source)};
    }
    static std::string request(const std::string& host) {
        return "GET / HTTP/1.1\r\nAccept: */*\r\nHost: " + host + "\r\n\r\n";
    }

    const Lab lab_;
    TcpServer server_{lab_.server(), 8080, TcpServer::echo};
    Gateway gateway_{lab_, policy};
};

TEST_F(Facts, AnHttpRequestIsJudgedByItsHost) {
    const std::string good = request("www.Allowed.example:8080");
    const Answer allowed = say(good);
    EXPECT_EQ(allowed.heard.bytes, good);
    EXPECT_EQ(allowed.verdict.text("protocol"), "http");
    EXPECT_EQ(allowed.verdict.text("server_name"), "www.allowed.example");
    EXPECT_EQ(allowed.verdict.text("rule"), "names/web");
    const Answer denied = say(request("other.example"));
    EXPECT_EQ(denied.heard.bytes, "");
    EXPECT_EQ(denied.heard.end, StreamEnd::reset);
    EXPECT_EQ(denied.verdict.text("rule"), "default");
    EXPECT_EQ(server_.accepted(), 1u);
}

TEST_F(Facts, ARequestWithTwoHostsIsNoWayAroundARule) {
    const Answer answer = say("GET / HTTP/1.1\r\nHost: www.allowed.example\r\nHost: other.example\r\n\r\n");
    EXPECT_EQ(answer.heard.end, StreamEnd::reset);
    EXPECT_EQ(answer.verdict.text("protocol"), "malformed");
    EXPECT_EQ(answer.verdict.text("began_as"), "http");
    EXPECT_EQ(answer.verdict.text("why"), "two Host fields");
    EXPECT_EQ(server_.accepted(), 0u);
}

TEST_F(Facts, AHostThatComesInPiecesIsWaitedFor) {
    TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(8080));
    const auto source = client.local();
    client.send("GET / HTTP/1.1\r\nHo");
    EXPECT_EQ(gateway_.count_lines("verdict"), 0u);
    client.send("st: other.example\r\n");
    client.send("\r\n");
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway_.wait_for("verdict", source).text("server_name"), "other.example");
}

TEST_F(Facts, AnSshClientIsJudgedByItsVersion) {
    const Answer allowed = say("SSH-2.0-OpenSSH_9.2p1\r\n");
    EXPECT_EQ(allowed.heard.bytes, "SSH-2.0-OpenSSH_9.2p1\r\n");
    EXPECT_EQ(allowed.verdict.text("rule"), "new-ssh");
    EXPECT_EQ(allowed.verdict.text("ssh_version"), "2.0-OpenSSH_9.2p1");
    EXPECT_EQ(say("SSH-2.0-libssh_0.10\r\n").verdict.text("decision"), "deny");
    EXPECT_EQ(say("SSH-1.5-old\r\n").verdict.text("decision"), "deny");
    EXPECT_EQ(say("EHLO me\r\n").verdict.text("rule"), "mail");
}

TEST_F(Facts, AnSshVersionThatDoesNotEndIsNotJudgedByHalf) {
    const Answer answer = say("SSH-2.0-Open");
    EXPECT_EQ(answer.verdict.text("protocol"), "malformed");
    EXPECT_EQ(answer.verdict.text("began_as"), "ssh");
    EXPECT_EQ(answer.verdict.text("decision"), "deny");
}

TEST_F(Facts, AHelloIsJudgedByWhatItOffers) {
    EXPECT_EQ(say(build_hello({.server_name = "plain.allowed.example"})).verdict.text("rule"),
              "names/no-alpn");
}

TEST_F(Facts, AProfileThatIsNotEnforcedOnlySaysWhatItWouldDeny) {
    const std::string hello = build_hello({.server_name = "www.odd.example"});
    const Answer answer = say(hello);
    EXPECT_EQ(answer.heard.bytes, hello) << "it passes";
    EXPECT_EQ(answer.verdict.text("decision"), "allow");
    EXPECT_EQ(answer.verdict.text("rule"), "names/tls");
    EXPECT_EQ(answer.verdict.text("would_deny"), "trial/odd");
}

}  // namespace
}  // namespace sluice::test
