// The leg to the server fails: the client is told with RST, as by the server itself, and the log says what it
// was.
#include <gtest/gtest.h>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/process.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* allow_all = "timeouts: {connect_ms: 300}\npolicy: {default: allow}\n";

void must_run(const Netns& netns, const std::vector<std::string>& argv) {
    const Finished finished = run_process(argv, {.netns = &netns});
    ASSERT_EQ(finished.exit_code, 0) << finished.err;
}

void expect_upstream_failure(const Lab& lab, Gateway& gateway, const policy::Endpoint& to,
                             std::string_view end) {
    TcpSocket client = TcpSocket::connect(lab.client(), to);
    const policy::Endpoint source = client.local();
    client.send("GET / HTTP/1.0\r\n\r\n");
    const Received heard = client.receive_to_end();
    EXPECT_EQ(heard.end, StreamEnd::reset);
    EXPECT_EQ(heard.bytes, "");
    const JsonRecord record = gateway.wait_for("end", source);
    EXPECT_EQ(record.text("end"), end) << record;
    EXPECT_EQ(record.text("decision"), "allow");
    EXPECT_EQ(record.number("bytes_up"), 0u);
}

TEST(Upstream, RefusedIsPassedOnAsReset) {
    const Lab lab;
    Gateway gateway(lab, allow_all);
    expect_upstream_failure(lab, gateway, Lab::server_v4(81), "upstream_refused");
    expect_upstream_failure(lab, gateway, Lab::server_v6(81), "upstream_refused");
}

// The server's RST comes before or while the first bytes are sent to it.
TEST(Upstream, AResetInsteadOfAnAnswerIsPassedOn) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, [](TcpSocket& socket) { socket.reset(); });
    Gateway gateway(lab, allow_all);
    for (const std::string& question : {build_hello(), std::string("GET / HTTP/1.0\r\n\r\n")}) {
        for (int i = 0; i < 20; ++i) {
            TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
            client.send(question);
            EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset) << i;
            EXPECT_EQ(gateway.wait_for("end", client.local()).text("end"), "server_reset");
        }
    }
}

TEST(Upstream, WithoutARouteIsUnreachable) {
    const Lab lab;
    lab.gateway().ip("route add unreachable 10.99.0.0/16\n");
    Gateway gateway(lab, allow_all);
    expect_upstream_failure(lab, gateway, endpoint("10.99.0.1:80"), "upstream_unreachable");
}

TEST(Upstream, BehindARouterThatSaysUnreachableIsUnreachable) {
    const Lab lab;
    must_run(lab.server(),
             {"nft",
              "add table inet wall; add chain inet wall in { type filter hook input priority 0; }; "
              "add rule inet wall in tcp dport 80 reject with icmpx host-unreachable"});
    // Long enough for a second SYN: the first answer comes back within connect(2) itself, as no real
    // network's does, and the kernel then only notes it (tcp_v6_err, sk_err_soft).
    Gateway gateway(lab, "timeouts: {connect_ms: 5000}\npolicy: {default: allow}\n");
    expect_upstream_failure(lab, gateway, Lab::server_v4(80), "upstream_unreachable");
    expect_upstream_failure(lab, gateway, Lab::server_v6(80), "upstream_unreachable");
}

TEST(Upstream, ThatNeverAnswersTimesOut) {
    const Lab lab;
    must_run(lab.server(),
             {"nft",
              "add table inet wall; add chain inet wall in { type filter hook input priority 0; }; "
              "add rule inet wall in tcp dport 80 drop"});
    Gateway gateway(lab, allow_all);
    expect_upstream_failure(lab, gateway, Lab::server_v4(80), "upstream_timeout");
}

TEST(Upstream, ClientThatLeavesDuringTheConnectIsNotWaitedFor) {
    const Lab lab;
    must_run(lab.server(),
             {"nft",
              "add table inet wall; add chain inet wall in { type filter hook input priority 0; }; "
              "add rule inet wall in tcp dport 80 drop"});
    Gateway gateway(lab, allow_all);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(80));
    const policy::Endpoint source = client.local();
    client.send("GET / HTTP/1.0\r\n\r\n");
    gateway.wait_for("verdict", source);
    client.reset();
    EXPECT_EQ(gateway.wait_for("end", source).text("end"), "client_gone");
}

TEST(Upstream, KeepsTheClientsPortAndTakesAnotherWhenItIsBusy) {
    const Lab lab({.server_addresses = 2});
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all);
    const policy::Endpoint source = endpoint("10.10.1.2:33333");
    TcpSocket first = TcpSocket::connect(lab.client(), Lab::server_v4(7000, 0), {.source = source});
    TcpSocket second = TcpSocket::connect(lab.client(), Lab::server_v4(7000, 1), {.source = source});
    for (TcpSocket* client : {&first, &second}) {
        client->send("x");
        EXPECT_EQ(client->receive_exactly(1), "x");
    }
    EXPECT_EQ(server.peers(), (std::vector<policy::Endpoint>{source, source}));

    // A client that reconnects from the port of a flow of which the gateway still holds the upstream leg.
    first.reset();
    gateway.wait_for("end", source);
    TcpSocket third = TcpSocket::connect(lab.client(), Lab::server_v4(7000, 0), {.source = source});
    third.send("y");
    EXPECT_EQ(third.receive_exactly(1), "y");
    EXPECT_EQ(server.peers().back().address, source.address);
}

}  // namespace
}  // namespace sluice::test
