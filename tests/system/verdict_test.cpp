// Real clients and a real TLS server: allowed names pass untouched, denied ones are refused in the way the
// rule says and the server never hears of them.
#include <gtest/gtest.h>

#include "tests/support/byte_stream.h"
#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/packet_counter.h"
#include "tests/support/real_clients.h"
#include "tests/support/real_servers.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* policy = R"(
policy:
  default: deny
  rules:
    - {name: good names, server_name: "suffix:allowed.example", action: allow}
    - {name: told, server_name: "exact:alert.example", action: deny, style: alert}
    - {name: closed, server_name: "exact:close.example", action: deny, style: close}
    - {name: dropped, server_name: "exact:drop.example", action: deny, style: drop}
)";

TEST(Verdict, AllowedNamePassesWithEveryClientUnderTheClientsOwnAddress) {
    const Lab lab;
    const Nginx nginx(lab.server(), {"allowed.example", "www.allowed.example"});
    Gateway gateway(lab, policy);
    const std::string& trust = nginx.certificate();

    const Finished curl = run_curl(lab.client(), "www.allowed.example", trust, {"-w", "%{local_port}"});
    ASSERT_EQ(curl.exit_code, 0) << curl.err;
    const std::string port = curl.out.substr(curl.out.find('\n') + 1);
    EXPECT_EQ(curl.out, "www.allowed.example 10.10.1.2 " + port + "\n" + port);
    const JsonRecord end = gateway.wait_for("end", endpoint("10.10.1.2:" + port));
    EXPECT_EQ(end.text("destination"), "10.10.2.2:443");
    EXPECT_EQ(end.text("protocol"), "tls");
    EXPECT_EQ(end.text("server_name"), "www.allowed.example");
    EXPECT_EQ(end.text("rule"), "good names");
    EXPECT_EQ(end.text("decision"), "allow");
    EXPECT_EQ(end.text("mode"), default_splice_mode()) << end;
    EXPECT_EQ(end.text("end"), "closed") << end;
    const JsonRecord verdict = gateway.wait_for("verdict", endpoint("10.10.1.2:" + port));
    EXPECT_TRUE(verdict.text("ja4").starts_with("t13d")) << verdict;
    EXPECT_EQ(verdict.text("alpn"), "h2,http/1.1");
    EXPECT_EQ(verdict.text("ech"), "none");
    EXPECT_EQ(verdict.text("records"), "1");
    EXPECT_GT(end.number("bytes_up"), 500u);
    EXPECT_GT(end.number("bytes_down"), 500u);

    const Finished openssl = run_openssl_client(lab.client(), "allowed.example", trust);
    EXPECT_NE(openssl.out.find("allowed.example 10.10.1.2 "), std::string::npos)
        << openssl.out << openssl.err;
    const Finished gnutls = run_gnutls_client(lab.client(), "allowed.example", trust);
    EXPECT_NE(gnutls.out.find("allowed.example 10.10.1.2 "), std::string::npos) << gnutls.out << gnutls.err;
}

TEST(Verdict, AllowedNamePassesOverIpv6) {
    const Lab lab;
    const Nginx nginx(lab.server(), {"allowed.example"});
    Gateway gateway(lab, policy);
    const Finished curl = run_process({"curl", "-sS", "--cacert", nginx.certificate(), "--resolve",
                                       "allowed.example:443:[fd00:2::2]", "https://allowed.example/"},
                                      {.netns = &lab.client()});
    EXPECT_TRUE(curl.out.starts_with("allowed.example fd00:1::2 ")) << curl.out << curl.err;
    EXPECT_EQ(gateway.wait_for("end").text("destination"), "[fd00:2::2]:443");
}

TEST(Verdict, ServerSeesTheGatewayWhenSoConfigured) {
    const Lab lab;
    const Nginx nginx(lab.server(), {"allowed.example"});
    Gateway gateway(lab, std::string("upstream: {source: gateway}\n") + policy);
    const Finished curl = run_curl(lab.client(), "allowed.example", nginx.certificate());
    EXPECT_TRUE(curl.out.starts_with("allowed.example 10.10.2.1 ")) << curl.out << curl.err;
}

TEST(Verdict, LargeFileArrivesWholeThroughARealServer) {
    const Lab lab;
    const std::size_t bytes = 20'000'000;
    const Nginx nginx(lab.server(), {"allowed.example"}, bytes);
    Gateway gateway(lab, policy);
    const Finished curl = run_curl(lab.client(), "allowed.example", nginx.certificate(), {}, "/bytes");
    EXPECT_EQ(curl.out.size(), bytes) << curl.err;
    EXPECT_EQ(sha256(curl.out), sha256(ByteStream(1).next(bytes)));
}

// What a client that says `server_name` gets to hear, and what the log says of it.
struct Refusal {
    Received heard;
    JsonRecord end;
};

Refusal refuse(const Lab& lab, Gateway& gateway, const std::string& server_name) {
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
    const policy::Endpoint source = client.local();
    client.send(build_hello({.server_name = server_name}));
    const Received heard = client.receive_to_end();
    client.close();
    return {heard, gateway.wait_for("end", source)};
}

TEST(Verdict, DeniedClientIsToldAsTheRuleSaysAndTheServerNeverHearsOfIt) {
    const Lab lab;
    TcpServer server(lab.server(), 443, TcpServer::swallow);
    Gateway gateway(lab, policy);

    const Refusal reset = refuse(lab, gateway, "denied.example");
    EXPECT_EQ(reset.heard.end, StreamEnd::reset);
    EXPECT_EQ(reset.heard.bytes, "");
    EXPECT_EQ(reset.end.text("rule"), "default");
    EXPECT_EQ(reset.end.text("decision"), "deny");
    EXPECT_EQ(reset.end.text("end"), "denied");
    EXPECT_EQ(reset.end.text("server_name"), "denied.example");

    const Refusal alert = refuse(lab, gateway, "alert.example");
    EXPECT_EQ(alert.heard.bytes, std::string("\x15\x03\x03\x00\x02\x02\x31", 7));
    EXPECT_EQ(alert.heard.end, StreamEnd::eof);
    EXPECT_EQ(alert.end.text("rule"), "told");

    const Refusal close = refuse(lab, gateway, "close.example");
    EXPECT_EQ(close.heard.end, StreamEnd::eof);
    EXPECT_EQ(close.heard.bytes, "");

    EXPECT_EQ(gateway.count_lines("verdict"), 3u);
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
}

TEST(Verdict, DroppedClientHearsNothingAtAll) {
    const Lab lab;
    TcpServer server(lab.server(), 443, TcpServer::echo);
    Gateway gateway(lab, policy);
    const PacketCounter ends(lab.client(), "tcp sport 443 tcp flags & (fin | rst) != 0");
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443), {.deadline = 300ms});
    client.send(build_hello({.server_name = "drop.example"}));
    EXPECT_EQ(gateway.wait_for("end", client.local()).text("end"), "denied");
    const Received heard = client.receive_to_end();
    EXPECT_EQ(heard.end, StreamEnd::silence);
    EXPECT_EQ(heard.bytes, "");
    EXPECT_EQ(ends.packets(), 0u);
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
}

TEST(Verdict, RealClientsUnderstandTheRefusal) {
    const Lab lab;
    const Nginx nginx(lab.server(), {"allowed.example"});
    Gateway gateway(lab, policy);
    const std::string& trust = nginx.certificate();

    const Finished openssl = run_openssl_client(lab.client(), "alert.example", trust);
    EXPECT_NE(openssl.err.find("alert access denied"), std::string::npos) << openssl.err;
    const Finished gnutls = run_gnutls_client(lab.client(), "alert.example", trust);
    EXPECT_NE((gnutls.out + gnutls.err).find("Access was denied"), std::string::npos)
        << gnutls.out << gnutls.err;
    const Finished curl = run_curl(lab.client(), "denied.example", trust);
    EXPECT_EQ(curl.exit_code, 35);
    EXPECT_NE(curl.err.find("reset by peer"), std::string::npos) << curl.err;
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
}

TEST(Verdict, NameIsJudgedWithoutRegardToCaseOrTrailingDot) {
    const Lab lab;
    TcpServer server(lab.server(), 443, TcpServer::echo);
    Gateway gateway(lab, policy);
    const std::string hello = build_hello({.server_name = "WWW.Allowed.Example."});
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
    client.send(hello);
    EXPECT_EQ(client.receive_exactly(hello.size()), hello);  // and the server gets what was sent
    EXPECT_EQ(gateway.wait_for("verdict").text("server_name"), "www.allowed.example");
}

TEST(Verdict, NamesThatOnlyLookAllowedAreDenied) {
    const Lab lab;
    TcpServer server(lab.server(), 443, TcpServer::swallow);
    Gateway gateway(lab, policy);
    for (const char* name : {"notallowed.example", "allowed.example.evil", "10.10.2.2"}) {
        SCOPED_TRACE(name);
        const Refusal refusal = refuse(lab, gateway, name);
        EXPECT_EQ(refusal.heard.end, StreamEnd::reset);
        EXPECT_EQ(refusal.end.text("end"), "denied");
    }
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
}

TEST(Verdict, HostileNameCannotBreakOutOfTheLog) {
    const Lab lab;
    Gateway gateway(lab, policy);
    const Refusal refusal = refuse(lab, gateway, "a\"}\n{\"event\":\"ready\"\x1b[2J.example");
    EXPECT_EQ(refusal.end.text("end"), "hello_malformed");
    EXPECT_EQ(gateway.count_lines("ready"), 1u);
    for (const char c : gateway.agent().out())
        ASSERT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f)) << int{c};
}

TEST(Verdict, HttpIsRecognised) {
    const Lab lab;
    TcpServer server(lab.server(), 80, TcpServer::echo);
    Gateway gateway(lab, "policy: {default: deny, rules: [{name: web, protocol: http, action: allow}]}");
    const std::string request = "GET / HTTP/1.1\r\nHost: any.example\r\n\r\n";
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(80));
    client.send(request);
    EXPECT_EQ(client.receive_exactly(request.size()), request);
    EXPECT_EQ(gateway.wait_for("verdict").text("protocol"), "http");
}

}  // namespace
}  // namespace sluice::test
