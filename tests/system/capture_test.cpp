// What is captured, what is not, and the ways of capturing that the agent does not install itself.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/gateway.h"
#include "tests/support/packet_counter.h"
#include "tests/support/real_clients.h"
#include "tests/support/real_servers.h"
#include "tests/support/socket_address.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

bool echoes(const Lab& lab, const policy::Endpoint& to) {
    TcpSocket client = TcpSocket::connect(lab.client(), to);
    return errno_of([&] { client.send("ping"); }) == 0 && client.receive_to_end().bytes == "ping";
}

void echo_four(TcpSocket& socket) {
    socket.send(socket.receive_exactly(4));
}

// Sends one datagram; errno of the answer: 0 when one came, ECONNREFUSED for ICMP port unreachable.
int udp_answer(const Netns& netns, const policy::Endpoint& to) {
    const int family = to.address.is_v4() ? AF_INET : AF_INET6;
    const int socket = netns.run([&] { return ::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0); });
    SocketAddress address(to);
    const timeval deadline{2, 0};
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    ::connect(socket, address.data(), address.size);
    char buffer[64] = "datagram";
    ::send(socket, buffer, 8, 0);
    const int error = ::recv(socket, buffer, sizeof buffer, 0) >= 0 ? 0 : errno;
    ::close(socket);
    return error;
}

TEST(Capture, WithoutAFileTakesAllOfAnInterfaceAllowsAndLogs) {
    const Lab lab;
    const Nginx nginx(lab.server(), {"allowed.example"});
    Gateway gateway(lab, "", {.arguments = {"run", "--interface", "lan0"}});
    const Finished curl = run_curl(lab.client(), "allowed.example", nginx.certificate());
    EXPECT_EQ(curl.exit_code, 0) << curl.err;
    const JsonRecord end = gateway.wait_for("end");
    EXPECT_EQ(end.text("server_name"), "allowed.example");
    EXPECT_EQ(end.text("rule"), "default");
    EXPECT_EQ(end.text("decision"), "allow");
}

// As while the gateway is flooded with SYNs: no client is known before it acknowledges its cookie.
TEST(Capture, AFloodOfSynsHurtsNobody) {
    if (default_splice_mode() != "packet") return;  // without its programs, clients with low ports are reset
    const Lab lab;
    lab.gateway().sysctl("net/ipv4/tcp_syncookies", "2");
    TcpServer server(lab.server(), 7000, echo_four);
    Gateway gateway(lab, "policy: {default: allow}\n");
    for (const char* source :
         {"10.10.1.2:20000", "10.10.1.2:40000", "[fd00:1::2]:20000", "[fd00:1::2]:40000"}) {
        SCOPED_TRACE(source);
        const policy::Endpoint from = endpoint(source);
        TcpSocket client = TcpSocket::connect(
            lab.client(), from.address.is_v4() ? Lab::server_v4(7000) : Lab::server_v6(7000),
            {.source = from});
        client.send("ping");
        const Received answer = client.receive_to_end();
        EXPECT_EQ(answer.bytes, "ping");
        EXPECT_EQ(answer.end, StreamEnd::eof);
        client.close();
        EXPECT_EQ(gateway.wait_for("end", from).text("end"), "closed");
    }
}

TEST(Capture, LeavesExcludedTrafficAlone) {
    const Lab lab({.server_addresses = 2});
    TcpServer first(lab.server(), 7000, echo_four);
    TcpServer second(lab.server(), 7001, echo_four);
    Gateway gateway(lab, R"(
capture:
  interfaces: [lan0]
  exclude: {destinations: [10.10.2.3, "fd00:2::2"], ports: [7001]}
policy: {default: deny}
)");
    EXPECT_FALSE(echoes(lab, Lab::server_v4(7000)));
    EXPECT_TRUE(echoes(lab, Lab::server_v4(7001)));
    EXPECT_TRUE(echoes(lab, Lab::server_v4(7000, 1)));
    EXPECT_TRUE(echoes(lab, Lab::server_v6(7000)));
    gateway.wait_for("end");
    EXPECT_EQ(gateway.count_lines("verdict"), 1u);
}

TEST(Capture, LeavesExcludedSourcesAlone) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, echo_four);
    Gateway gateway(
        lab, "capture: {interfaces: [lan0], exclude: {sources: [10.10.1.2]}}\npolicy: {default: deny}\n");
    EXPECT_TRUE(echoes(lab, Lab::server_v4(7000)));
    EXPECT_FALSE(echoes(lab, Lab::server_v6(7000)));
}

TEST(Capture, TakesOnlyTheListedPorts) {
    const Lab lab;
    TcpServer first(lab.server(), 7000, echo_four);
    TcpServer second(lab.server(), 7001, echo_four);
    Gateway gateway(lab, "capture: {interfaces: [lan0], ports: [443, 6000-7000]}\npolicy: {default: deny}\n");
    EXPECT_FALSE(echoes(lab, Lab::server_v4(7000)));
    EXPECT_TRUE(echoes(lab, Lab::server_v4(7001)));
}

TEST(Capture, DoesNotTakeConnectionsThatCameFromElsewhere) {
    const Lab lab;
    TcpServer in_the_lan(lab.client(), 7000, echo_four);
    Gateway gateway(lab, "policy: {default: deny}");
    TcpSocket from_outside = TcpSocket::connect(lab.server(), endpoint("10.10.1.2:7000"));
    from_outside.send("ping");
    EXPECT_EQ(from_outside.receive_exactly(4), "ping");
    EXPECT_EQ(gateway.count_lines("verdict"), 0u);
}

TEST(Capture, QuicIsRejectedAtOnceAndOtherUdpIsForwarded) {
    const Lab lab;
    const PacketCounter quic(lab.server(), "udp dport 443");
    const PacketCounter other(lab.server(), "udp dport 53");
    Gateway gateway(lab, "policy: {default: allow}");
    EXPECT_EQ(udp_answer(lab.client(), Lab::server_v4(443)), ECONNREFUSED);
    EXPECT_EQ(udp_answer(lab.client(), Lab::server_v6(443)), ECONNREFUSED);
    EXPECT_EQ(quic.packets(), 0u);
    udp_answer(lab.client(), Lab::server_v4(53));
    EXPECT_EQ(other.packets(), 1u);
}

TEST(Capture, QuicPassesWhenAllowed) {
    const Lab lab;
    const PacketCounter quic(lab.server(), "udp dport 443");
    Gateway gateway(lab, "capture: {interfaces: [lan0], quic: allow}\npolicy: {default: allow}\n");
    udp_answer(lab.client(), Lab::server_v4(443));
    EXPECT_EQ(quic.packets(), 1u);
}

TEST(Capture, WorksBehindAnIptablesRedirect) {
    const Lab lab;
    const Nginx nginx(lab.server(), {"allowed.example"});
    Gateway gateway(lab, R"(
capture: {install: false}
upstream: {source: gateway}
policy:
  default: deny
  rules: [{name: good, server_name: "suffix:allowed.example", destination: 10.10.2.2, action: allow}]
)");
    EXPECT_EQ(run_process({"nft", "list", "ruleset"}, {.netns = &lab.gateway()}).out, "");
    for (const char* iptables : {"iptables", "ip6tables"}) {
        const Finished redirect = run_process({iptables, "-t", "nat", "-A", "PREROUTING", "-i", "lan0", "-p",
                                               "tcp", "-j", "REDIRECT", "--to-ports", "15001"},
                                              {.netns = &lab.gateway()});
        ASSERT_EQ(redirect.exit_code, 0) << redirect.err;
    }
    const Finished allowed = run_curl(lab.client(), "allowed.example", nginx.certificate());
    EXPECT_TRUE(allowed.out.starts_with("allowed.example 10.10.2.1 ")) << allowed.out << allowed.err;
    EXPECT_EQ(gateway.wait_for("verdict").text("destination"), "10.10.2.2:443");
    const Finished denied = run_curl(lab.client(), "denied.example", nginx.certificate());
    EXPECT_EQ(denied.exit_code, 35) << denied.err;
    const Finished v6 =
        run_process({"curl", "-sk", "--connect-to", "::[fd00:2::2]:", "https://allowed.example/"},
                    {.netns = &lab.client()});
    EXPECT_NE(v6.exit_code, 0);
    EXPECT_EQ(gateway
                  .wait_for("verdict",
                            [](const JsonRecord& record) { return record.text("source").starts_with("["); })
                  .text("destination"),
              "[fd00:2::2]:443");
}

TEST(Capture, ConnectingToTheAgentsOwnPortIsNoWayThrough) {
    const Lab lab;
    Gateway gateway(lab, "policy: {default: allow}");
    const int error = errno_of([&] {
        TcpSocket client = TcpSocket::connect(lab.client(), endpoint("10.10.1.1:15001"));
        client.send("x");
        EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    });
    EXPECT_TRUE(error == 0 || error == ECONNREFUSED || error == ECONNRESET || error == EPIPE) << error;
    if (error == 0) EXPECT_EQ(gateway.wait_for("end").text("end"), "not_redirected");
}

// A redirect in the gateway's own output chain may hand over what was meant for the gateway itself: dialling
// that again would end at the agent once more, or at a service that listens on loopback for good reasons.
TEST(Capture, RedirectedConnectionsToLoopbackAreRefused) {
    const Lab lab;
    Gateway gateway(lab, "capture: {install: false}\npolicy: {default: allow}");
    const TcpServer private_service(lab.gateway(), 9999, TcpServer::echo);
    const Finished redirect = run_process({"iptables", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport",
                                           "9999", "-j", "REDIRECT", "--to-ports", "15001"},
                                          {.netns = &lab.gateway()});
    ASSERT_EQ(redirect.exit_code, 0) << redirect.err;
    TcpSocket client = TcpSocket::connect(lab.gateway(), endpoint("127.0.0.1:9999"));
    const Received heard = client.receive_to_end();
    EXPECT_EQ(heard.bytes, "");
    EXPECT_EQ(heard.end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("end").text("end"), "not_redirected");
}

}  // namespace
}  // namespace sluice::test
