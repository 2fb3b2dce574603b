// The explicit way in: clients that ask the gateway for their destination, by HTTP CONNECT or SOCKS5.
#include <gtest/gtest.h>

#include "tests/support/byte_stream.h"
#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/real_servers.h"
#include "tests/support/tcp_server.h"
#include "tests/system/splice_modes.h"

namespace sluice::test {
namespace {

using namespace std::string_literals;

constexpr const char* proxy = R"(
proxy: {listen: ["10.10.1.1:3128", "10.10.1.1:1080", "[fd00:1::1]:3128"], from: [10.10.1.2, "fd00:1::/64"]}
)";
constexpr const char* soon = "peek: {silence_ms: 100, hello_deadline_ms: 400}\n";
constexpr const char* policy = R"(
policy:
  default: deny
  rules:
    - {name: good names, server_name: ["exact:allowed.example", "exact:other.example"], action: allow}
    - {name: quietly, server_name: "exact:drop.example", action: deny, style: drop}
    - {name: everything there, port: 7000, action: allow}
)";
const std::string success = "HTTP/1.1 200 Connection established\r\n\r\n";
const std::string socks_success = "\5\0\0\1\0\0\0\0\0\0"s;

// A gateway whose own resolver knows these names. Its `hosts` is seen by nobody else.
class ProxyGateway {
  public:
    explicit ProxyGateway(const Lab& lab, const std::string& more = policy)
        : hosts_(directory_.write("hosts",
                                  "127.0.0.1 localhost inward.example\n"
                                  "10.10.2.2 allowed.example other.example denied.example ssh.example "
                                  "drop.example\n")),
          gateway_(lab, proxy + more,
                   {.arguments = {},
                    .wrapper = {"unshare", "-m", "sh", "-c",
                                "mount --bind " + hosts_ + " /etc/hosts && exec \"$@\"", "sh"}}) {}
    Gateway* operator->() { return &gateway_; }

  private:
    TemporaryDirectory directory_;
    std::string hosts_;
    Gateway gateway_;
};

TcpSocket dial_proxy(const Lab& lab) {
    return TcpSocket::connect(lab.client(), endpoint("10.10.1.1:3128"));
}

std::string connect_to(const std::string& target) {
    return "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n";
}

std::string socks_to(const std::string& name, std::uint16_t port) {
    return "\5\1\0"s + "\5\1\0\3"s + static_cast<char>(name.size()) + name + static_cast<char>(port >> 8) +
           static_cast<char>(port);
}

// What a client that sends this hears until its connection ends.
Received ask(const Lab& lab, const std::string& request) {
    TcpSocket client = dial_proxy(lab);
    client.send(request);
    return client.receive_to_end();
}

std::string status_of(const Received& received) {
    return received.bytes.substr(0, received.bytes.find('\r'));
}

TEST(Proxy, CurlGetsAFileThroughConnectAndSocksByNamesThatTheGatewayResolves) {
    const Lab lab;
    constexpr std::size_t bytes = 3'000'000;
    const Nginx nginx(lab.server(), {"allowed.example"}, bytes);
    ProxyGateway gateway(lab);
    for (const auto& [option, via] : {std::pair{"--proxy http://10.10.1.1:3128", "connect"},
                                      std::pair{"--socks5-hostname 10.10.1.1:1080", "socks5"}}) {
        const Finished curl = run_process({"sh", "-c",
                                           "exec curl -sS --max-time 20 --cacert " + nginx.certificate() +
                                               " " + option + " https://allowed.example/bytes"},
                                          {.netns = &lab.client()});
        EXPECT_EQ(curl.exit_code, 0) << curl.err;
        EXPECT_EQ(sha256(curl.out), sha256(ByteStream(1).next(bytes))) << via;
        const JsonRecord verdict =
            gateway->wait_for("verdict", [&](const JsonRecord& line) { return line.text("via") == via; });
        const JsonRecord end = gateway->wait_for("end", endpoint(verdict.text("source")));
        EXPECT_EQ(verdict.text("asked_name"), "allowed.example");
        EXPECT_EQ(verdict.text("server_name"), "allowed.example");
        EXPECT_EQ(verdict.text("destination"), "10.10.2.2:443");
        EXPECT_EQ(verdict.text("protocol"), "tls");
        EXPECT_EQ(end.text("end"), "closed") << end;
        EXPECT_EQ(end.text("via"), via) << end;
        EXPECT_EQ(end.text("asked_name"), "allowed.example") << end;
        EXPECT_EQ(end.text("mode"), default_splice_mode()) << end;
        EXPECT_EQ(end.text("destination"), "10.10.2.2:443") << end;
    }
}

TEST(Proxy, AnSshClientLogsInAndIsJudgedByTheNameThatItAskedFor) {
    const Lab lab;
    const Sshd sshd(lab.server());
    ProxyGateway gateway(lab, R"(
policy:
  default: deny
  rules:
    - {name: our ssh, server_name: "exact:ssh.example", protocol: [ssh, server-first], port: 22, action: allow}
)");
    for (const char* command : {"nc -X connect -x 10.10.1.1:3128 %h %p", "nc -X 5 -x 10.10.1.1:3128 %h %p",
                                "socat - PROXY:10.10.1.1:%h:%p,proxyport=3128"}) {
        std::vector<std::string> ssh = sshd.client();
        ssh.insert(ssh.end(),
                   {"-o", "ProxyCommand="s + command, "ssh.example", "sha256sum", "/proc/version"});
        const Finished login = run_process(ssh, {.netns = &lab.client()});
        EXPECT_EQ(login.out, run_process({"sha256sum", "/proc/version"}).out) << command << login.err;
    }
    const JsonRecord verdict = gateway->wait_for("verdict");
    EXPECT_EQ(verdict.text("rule"), "our ssh");
    EXPECT_EQ(verdict.text("server_name"), "ssh.example");
    EXPECT_EQ(verdict.text("via"), "connect");
    // Nobody else's ssh.
    EXPECT_EQ(status_of(ask(lab, connect_to("allowed.example:22"))), "HTTP/1.1 403 Forbidden");
}

// Judged before anybody has spoken, and again by what the server says, and each time its name is looked up.
TEST(Proxy, ASilentClientWhoseNameIsVerifiedHasOneVerdict) {
    const Lab lab;
    const TcpServer server(lab.server(), 2525, [](TcpSocket& socket) { socket.send("hey\n"); });
    ProxyGateway gateway(lab, "dns: {servers: 10.10.2.2}\npolicy: {default: allow, verify: log}\n");
    TcpSocket client = dial_proxy(lab);
    client.send(connect_to("allowed.example:2525"));
    EXPECT_EQ(client.receive_exactly(success.size() + 4), success + "hey\n");
    client.shutdown_write();
    gateway->wait_for("end");
    EXPECT_EQ(gateway->count_lines("verdict"), 1u);
}

TEST(Proxy, ADeniedNameIsRefusedInTheClientsLanguageAndTheServerNeverHearsOfIt) {
    const Lab lab;
    TcpServer server(lab.server(), 443, TcpServer::swallow);
    ProxyGateway gateway(lab);
    const Received connect = ask(lab, connect_to("denied.example:443"));
    EXPECT_EQ(connect.bytes,
              "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 52\r\n"
              "Connection: close\r\n\r\nsluice: the gateway's policy does not let this pass\n");
    EXPECT_EQ(connect.end, StreamEnd::eof);
    EXPECT_EQ(ask(lab, socks_to("denied.example", 443)).bytes, "\5\0"s + "\5\2\0\1\0\0\0\0\0\0"s);
    const JsonRecord end = gateway->wait_for("end");
    EXPECT_EQ(end.text("end"), "denied");
    EXPECT_EQ(end.text("rule"), "default");
    EXPECT_EQ(end.text("asked_name"), "denied.example");

    TcpSocket dropped = dial_proxy(lab);
    dropped.send(connect_to("drop.example:443"));
    gateway->wait_for("end", dropped.local());
    EXPECT_EQ(dropped.bytes_readable(), 0u);
    EXPECT_EQ(server.accepted(), 0u);
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
}

TEST(Proxy, AHelloWithAnotherNameIsJudgedByBoth) {
    const Lab lab;
    std::atomic<std::size_t> heard = 0;
    TcpServer server(lab.server(), 443, [&](TcpSocket& socket) {
        StreamEnd end{};
        const std::string hello = socket.receive_some(1000, end);
        heard += hello.size();
        if (!hello.empty()) socket.send("answer");
    });
    ProxyGateway gateway(lab);
    TcpSocket client = dial_proxy(lab);
    client.send(connect_to("allowed.example:443") + build_hello({.server_name = "denied.example"}));
    EXPECT_EQ(client.receive_exactly(success.size()), success);
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    const JsonRecord end = gateway->wait_for("end", client.local());
    EXPECT_EQ(end.text("end"), "denied");
    EXPECT_EQ(end.text("server_name"), "denied.example");
    EXPECT_EQ(end.text("asked_name"), "allowed.example");
    EXPECT_EQ(heard, 0u);

    // Both are allowed.
    const std::string hello = build_hello({.server_name = "other.example"});
    TcpSocket other = dial_proxy(lab);
    other.send(connect_to("allowed.example:443") + hello);
    EXPECT_EQ(other.receive_exactly(success.size()), success);
    EXPECT_EQ(other.receive_exactly(6), "answer");
    EXPECT_EQ(heard, hello.size());
}

TEST(Proxy, AnAddressIsNotDialledBeforeTheNameInTheHelloHasBeenJudged) {
    const Lab lab;
    TcpServer server(lab.server(), 443, TcpServer::swallow);
    ProxyGateway gateway(lab);
    TcpSocket client = dial_proxy(lab);
    client.send(connect_to("10.10.2.2:443"));
    EXPECT_EQ(client.receive_exactly(success.size()), success);
    client.send(build_hello({.server_name = "denied.example"}));
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway->wait_for("end", client.local()).text("end"), "denied");
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
}

TEST(Proxy, TheGatewayItselfIsNoDestination) {
    const Lab lab;
    TcpServer inward(lab.gateway(), 22, TcpServer::echo);
    lab.gateway().ip("route add local fd00:99::/64 dev lo\nroute add local 10.99.0.0/16 dev lo\n");
    ProxyGateway gateway(lab, "policy: {default: allow}\n");
    for (const char* target :
         {"127.0.0.1:22", "127.8.8.8:22", "10.10.1.1:22", "10.10.2.1:22", "[::1]:22", "[fd00:2::1]:22",
          "0.0.0.0:22", "[::]:22", "169.254.169.254:80", "[fe80::1]:22", "224.0.0.1:22", "255.255.255.255:22",
          "[::ffff:127.0.0.1]:22", "[::127.0.0.1]:22", "localhost:22", "inward.example:22", "[fd00:99::5]:22",
          "10.99.0.5:22"}) {
        EXPECT_EQ(status_of(ask(lab, connect_to(target))), "HTTP/1.1 403 Forbidden") << target;
    }
    EXPECT_EQ(inward.accepted(), 0u);
    EXPECT_EQ(gateway->wait_for("end").text("end"), "proxy_destination_refused");
}

// More at once than one client has places for.
TEST(Proxy, ABurstOfNamesIsLookedUpInTurn) {
    const Lab lab;
    TcpServer server(lab.server(), 443, TcpServer::echo);
    ProxyGateway gateway(lab, "policy: {default: allow}\n");
    std::vector<TcpSocket> clients;
    for (int i = 0; i < 40; ++i) {
        clients.push_back(TcpSocket::connect(lab.client(), endpoint("10.10.1.1:3128")));
        clients.back().send(connect_to("allowed.example:443"));
    }
    for (TcpSocket& client : clients)
        EXPECT_EQ(client.receive_exactly(12), "HTTP/1.1 200");
}

TEST(Proxy, OnlyThoseWhoAreNamedAreServed) {
    const Lab lab;
    lab.client().ip("addr add 10.10.1.3/24 dev eth0\n");
    ProxyGateway gateway(lab, "policy: {default: allow}\n");
    TcpSocket stranger =
        TcpSocket::connect(lab.client(), endpoint("10.10.1.1:3128"), {.source = endpoint("10.10.1.3:0")});
    EXPECT_EQ(stranger.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway->wait_for("end", stranger.local()).text("end"), "proxy_source_refused");
}

TEST(Proxy, WhyItDidNotWorkIsSaid) {
    const Lab lab;
    ProxyGateway gateway(lab, std::string(soon) + "policy: {default: allow}\n");
    EXPECT_EQ(status_of(ask(lab, connect_to("10.10.2.2:9"))), "HTTP/1.1 502 Bad Gateway");
    EXPECT_EQ(ask(lab, socks_to("10.10.2.2", 9)).bytes.substr(2, 2), "\5\5"s);
    EXPECT_EQ(status_of(ask(lab, connect_to("nobody.invalid:443"))), "HTTP/1.1 502 Bad Gateway");
    EXPECT_EQ(status_of(ask(lab, "GET http://a.example/ HTTP/1.1\r\n\r\n")),
              "HTTP/1.1 405 Method Not Allowed");
    EXPECT_EQ(status_of(ask(lab, "CONNECT a.example HTTP/1.1\r\n\r\n")), "HTTP/1.1 400 Bad Request");
    EXPECT_EQ(status_of(ask(lab, "C" + std::string(9000, 'x'))),
              "HTTP/1.1 431 Request Header Fields Too Large");
    EXPECT_EQ(ask(lab, "\5\1\2"s).bytes, "\5\xff"s);
    EXPECT_EQ(ask(lab, "\5\1\0\5\2"s).bytes.substr(2, 2), "\5\7"s);
    EXPECT_EQ(ask(lab, "\4\1"s).end, StreamEnd::reset);
    EXPECT_EQ(ask(lab, build_hello()).end, StreamEnd::reset);
    // Too slow.
    EXPECT_EQ(status_of(ask(lab, "CONNECT a.example:443 HTTP/1.1\r\nA: ")), "HTTP/1.1 408 Request Timeout");
    EXPECT_EQ(ask(lab, "").end, StreamEnd::reset);
    EXPECT_EQ(
        gateway
            ->wait_for("end",
                       [](const JsonRecord& line) { return line.text("end") == "proxy_request_refused"; })
            .text("via"),
        "connect");
}

TEST(Proxy, NeedsNoCapture) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    ProxyGateway gateway(lab, "# no capture:\npolicy: {default: allow}\n");
    TcpSocket client = TcpSocket::connect(lab.client(), endpoint("[fd00:1::1]:3128"));
    client.send(connect_to("[fd00:2::2]:7000") + "hello");
    EXPECT_EQ(client.receive_exactly(success.size() + 5), success + "hello");
    // The other family is another way to the same server.
    TcpSocket other = TcpSocket::connect(lab.client(), endpoint("[fd00:1::1]:3128"));
    other.send(connect_to("10.10.2.2:7000") + "hello");
    EXPECT_EQ(other.receive_exactly(success.size() + 5), success + "hello");
    other.send(ByteStream(3).next(100'000));
    EXPECT_EQ(other.receive_exactly(100'000), ByteStream(3).next(100'000));
    const Finished nft = run_process({"nft", "list", "ruleset"}, {.netns = &lab.gateway()});
    EXPECT_EQ(nft.out.find("sluice"), std::string::npos);
    // What passes by is not the proxy's.
    TcpSocket passing = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    EXPECT_TRUE(wait_until([&] { return server.peers().back() == passing.local(); }));
}

class ProxyModes : public SpliceModes {};

TEST_P(ProxyModes, EveryByteBehindTheRequestArrivesInBothDirections) {
    const Lab lab;
    constexpr std::size_t bytes = 2'000'000;
    constexpr std::size_t first_bytes = 1000;
    Server server(lab, 7000, [](TcpSocket& socket) {
        const std::string first = socket.receive_exactly(first_bytes);
        socket.send("go");
        const std::string all = first + socket.receive_exactly(bytes - first_bytes);
        socket.send(sha256(all) + ByteStream(2).next(bytes));
        socket.receive_to_end();
    });
    ProxyGateway gateway(lab, allow_all());
    for (const std::string& request : {connect_to("10.10.2.2:7000"), socks_to("10.10.2.2", 7000)}) {
        const std::string answer = request[0] == 'C' ? success : "\5\0"s + socks_success;
        const std::string up = ByteStream(1).next(bytes);
        TcpSocket client = dial_proxy(lab);
        const std::size_t with_request = talk_bytes() > 0 ? 0 : first_bytes;
        client.send(request + up.substr(0, with_request));  // in one segment
        EXPECT_EQ(client.receive_exactly(answer.size()), answer);
        for (std::uint64_t i = 0; i < talk_bytes(); ++i) {
            client.send("x");
            EXPECT_EQ(client.receive_exactly(1), "x");
        }
        client.send(up.substr(with_request, first_bytes - with_request));
        EXPECT_EQ(client.receive_exactly(2), "go");
        client.send(up.substr(first_bytes));
        EXPECT_EQ(client.receive_exactly(64), sha256(up));
        client.shutdown_write();
        const Received down = client.receive_to_end();
        EXPECT_EQ(sha256(down.bytes), sha256(ByteStream(2).next(bytes)));
        EXPECT_EQ(down.end, StreamEnd::eof);
        const JsonRecord end = gateway->wait_for("end", client.local());
        EXPECT_EQ(end.text("mode"), GetParam()) << end;
        EXPECT_EQ(end.text("end"), "closed") << end;
        EXPECT_EQ(end.number("bytes_up"), bytes + talk_bytes()) << end;
        EXPECT_EQ(end.number("bytes_down"), bytes + 66 + talk_bytes()) << end;
    }
}

INSTANTIATE_TEST_SUITE_P(Modes, ProxyModes, testing::Values("relay", "sockmap", "packet"),
                         [](const auto& mode) { return std::string(mode.param); });

}  // namespace
}  // namespace sluice::test
