// Too much of everything: what is over a limit is refused cleanly and counted, what is under way is left
// alone.
#include <gtest/gtest.h>

#include <deque>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

std::string ping(TcpSocket& client) {
    client.send("ping");
    return client.receive_exactly(4);
}

TEST(Limits, FlowsOverTheLimitAreRefusedAndTheOthersLiveOn) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, "limits: {flows: 2}\npolicy: {default: allow}\n");
    TcpSocket first = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    EXPECT_EQ(ping(first), "ping");
    TcpSocket second = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    EXPECT_EQ(ping(second), "ping");
    TcpSocket third = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    EXPECT_EQ(third.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("end").text("end"), "flow_limit");
    EXPECT_EQ(server.accepted(), 2u);
    EXPECT_EQ(ping(first), "ping");
    EXPECT_EQ(ping(second), "ping");

    const policy::Endpoint source = first.local();
    first.close();
    gateway.wait_for("end", source);
    TcpSocket fourth = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    EXPECT_EQ(ping(fourth), "ping");
}

TEST(Limits, RunningOutOfDescriptorsRefusesNewFlowsAndLeavesTheOthersAlone) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, "splice: relay\npolicy: {default: allow}\n",
                    {.wrapper = {"prlimit", "--nofile=600:600"}});
    TcpSocket first = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    EXPECT_EQ(ping(first), "ping");
    std::deque<TcpSocket> crowd;
    for (int count = 0; count < 400; ++count) {
        crowd.push_back(TcpSocket::connect(lab.client(), Lab::server_v4(7000)));
        errno_of([&] { crowd.back().send("x"); });
    }
    const JsonRecord refused = gateway.wait_for("end");
    EXPECT_TRUE(refused.text("end") == "flow_limit" || refused.text("end") == "descriptor_limit") << refused;
    EXPECT_EQ(ping(first), "ping");

    crowd.clear();
    EXPECT_TRUE(wait_until([&] {
        TcpSocket next = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
        StreamEnd end{};
        return errno_of([&] { next.send("x"); }) == 0 && next.receive_some(1, end) == "x";
    }));
}

TEST(Limits, TenThousandSilentConnectionsHoldUpNobody) {
    const Lab lab;
    TcpServer server(lab.server(), 443, TcpServer::echo);
    Gateway gateway(lab, R"(
peek: {silence_ms: 60000, hello_deadline_ms: 60000}
policy:
  default: deny
  rules: [{name: good, server_name: "exact:allowed.example", action: allow}]
)");
    const std::uint64_t before = gateway.agent().resident_bytes();
    std::deque<TcpSocket> silent;
    for (int count = 0; count < 10'000; ++count) {
        silent.push_back(TcpSocket::connect(lab.client(), Lab::server_v4(443)));
    }
    ASSERT_TRUE(wait_until([&] { return gateway.agent().descriptors() > 10'000; }));
    const std::string hello = build_hello();
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
    const auto began = std::chrono::steady_clock::now();
    client.send(hello);
    EXPECT_EQ(client.receive_exactly(hello.size()), hello);
    EXPECT_LT(std::chrono::steady_clock::now() - began, 1s);
    const std::uint64_t grown = gateway.agent().resident_bytes() - before;
    RecordProperty("agent_bytes_per_silent_flow", static_cast<int>(grown / 10'000));
    if (!sanitized()) EXPECT_LT(grown, 50'000'000u);

    // Idle for the agent, too: nobody polls ten thousand sockets.
    const milliseconds cpu = gateway.agent().cpu_time();
    for (int count = 0; count < 20; ++count) {
        client.send("ping");
        EXPECT_EQ(client.receive_exactly(4), "ping");
    }
    EXPECT_LT((gateway.agent().cpu_time() - cpu).count(), 200);
    EXPECT_EQ(server.accepted(), 1u);
    silent.clear();
    EXPECT_TRUE(wait_until([&] { return gateway.agent().descriptors() < 200; }));
}

}  // namespace
}  // namespace sluice::test
