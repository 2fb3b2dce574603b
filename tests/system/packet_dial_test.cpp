// Servers that the gateway reaches without a socket of its own, and what goes wrong on the way: whatever
// does, a socket connects then, and the client notices nothing.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/byte_stream.h"
#include "tests/support/gateway.h"
#include "tests/support/process.h"
#include "tests/support/tcp_server.h"
#include "tests/support/wait.h"

namespace sluice::test {
namespace {

constexpr const char* allow_all = "timeouts: {connect_ms: 3000}\npolicy: {default: allow}\n";
constexpr std::uint16_t port = 7000;

void must_run(const Netns& netns, const std::string& rules) {
    const Finished finished = run_process({"nft", "-f", "-"}, {.netns = &netns, .input = rules});
    ASSERT_EQ(finished.exit_code, 0) << finished.err;
}

// What the server's host does with TCP packets for the port, by a rule of nftables.
void wall(const Netns& netns, const std::string& rule) {
    must_run(netns, "table inet wall { chain in { type filter hook input priority 0; tcp dport 7000 " + rule +
                        "; }; }");
}

std::uint64_t sockets_connected(const Lab& lab) {
    return lab.gateway().tcp_counter("ActiveOpens");
}

TcpSocket say(const Lab& lab, std::string_view bytes, const policy::Endpoint& to = Lab::server_v4(port),
              const ConnectOptions& options = {}) {
    TcpSocket client = TcpSocket::connect(lab.client(), to, options);
    client.send(bytes);
    return client;
}

void expect_echo(const Lab& lab, std::string_view bytes, const policy::Endpoint& to = Lab::server_v4(port),
                 const ConnectOptions& options = {}) {
    TcpSocket client = say(lab, bytes, to, options);
    EXPECT_EQ(client.receive_exactly(bytes.size()), bytes);
    const std::string more = ByteStream(bytes.size()).next(100'000);
    client.send(more);
    EXPECT_EQ(sha256(client.receive_exactly(more.size())), sha256(more));
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
}

// A gateway whose agent has met the server already.
class PacketDial : public testing::Test {
  protected:
    // On a busy machine it may take more than once until the server has answered soon enough.
    template <class Function>
    void expect_no_socket(Function&& function) {
        EXPECT_TRUE(wait_until([&] {
            const std::uint64_t before = sockets_connected(lab_);
            function();
            return sockets_connected(lab_) == before;
        }));
    }
    void meet(const policy::Endpoint& to = Lab::server_v4(port)) {
        expect_no_socket([&] { EXPECT_EQ(say(lab_, "ask", to).receive_exactly(3), "ask"); });
    }
    JsonRecord end_of(const policy::Endpoint& source) { return gateway_.wait_for("end", source); }

    const Lab lab_;
    TcpServer server_{lab_.server(), port, TcpServer::echo};
    Gateway gateway_{lab_, std::string("limits: {workers: 1}\n") + allow_all};
};

TEST_F(PacketDial, NeedsNoSocketOnceTheServerIsKnown) {
    for (const auto& server : {Lab::server_v4(port), Lab::server_v6(port)}) {
        for (const std::size_t bytes : {std::size_t{1}, std::size_t{2}, std::size_t{333}, std::size_t{1400}})
            expect_no_socket([&] { expect_echo(lab_, ByteStream(bytes).next(bytes), server); });
    }
}

TEST_F(PacketDial, AFlowIsListedCountedAndEndsAsAnyOther) {
    meet();
    TcpSocket client = say(lab_, "question");
    EXPECT_EQ(client.receive_exactly(8), "question");
    EXPECT_TRUE(wait_until([&] { return gateway_.flows().size() == 1; }));
    const JsonRecord flow = gateway_.flows().at(0);
    EXPECT_EQ(flow.text("mode"), "packet");
    EXPECT_EQ(flow.number("bytes_up"), 8u);
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
    const JsonRecord end = end_of(client.local());
    EXPECT_EQ(end.text("end"), "closed");
    EXPECT_EQ(end.number("bytes_up"), 8u);
    EXPECT_EQ(end.number("bytes_down"), 8u);
    EXPECT_EQ(server_.peers().back(), client.local()) << "the client's own address and port";
}

TEST_F(PacketDial, WhatDoesNotFitIntoASegmentTakesTheSocket) {
    meet();
    const std::uint64_t before = sockets_connected(lab_);
    expect_echo(lab_, ByteStream(1).next(5000));
    EXPECT_EQ(sockets_connected(lab_), before + 1);
}

TEST_F(PacketDial, OtherOptionsThanBeforeAreTheClients) {
    meet();
    for (const char* option : {"tcp_sack", "tcp_window_scaling", "tcp_timestamps"}) {
        SCOPED_TRACE(option);
        lab_.client().sysctl(std::string("net/ipv4/") + option, "0");
        expect_no_socket([&] { expect_echo(lab_, "with less"); });
    }
}

TEST_F(PacketDial, AServerThatRefusesIsAskedOnceMoreAndTheLogSaysSo) {
    meet();
    wall(lab_.server(), "reject with tcp reset");
    TcpSocket client = say(lab_, "anybody there?");
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(end_of(client.local()).text("end"), "upstream_refused");
}

TEST_F(PacketDial, AServerThatIsOutOfReachIsSo) {
    meet();
    wall(lab_.server(), "reject with icmpx host-unreachable");
    TcpSocket client = say(lab_, "anybody there?");
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(end_of(client.local()).text("end"), "upstream_unreachable");
}

TEST_F(PacketDial, ALostSynCostsLittle) {
    meet();
    wall(lab_.server(), "tcp flags syn / fin,syn,rst,ack quota until 60 bytes drop");
    const auto began = std::chrono::steady_clock::now();
    expect_echo(lab_, "first try lost");
    EXPECT_LT(std::chrono::steady_clock::now() - began, 800ms) << "not a second, the kernel's first timeout";
}

// Connection tracking has seen the dial's SYN, and must not find that of the socket out of order.
TEST_F(PacketDial, AFirewallThatDropsWhatIsInvalidLetsTheSocketConnect) {
    must_run(lab_.gateway(),
             "table inet fw { chain out { type filter hook output priority 0; ct state invalid drop; }; }");
    for (int i = 0; i < 6; ++i) {
        meet();
        wall(lab_.server(), "tcp flags & (fin | syn | rst | ack) == syn quota until 60 bytes drop");
        const auto began = std::chrono::steady_clock::now();
        expect_echo(lab_, "first try lost");
        EXPECT_LT(std::chrono::steady_clock::now() - began, 800ms);
        must_run(lab_.server(), "flush ruleset");
    }
}

// The server has heard of the connection then, and would mistake the socket's SYN.
TEST_F(PacketDial, ALostAnswerCostsLittle) {
    meet();
    must_run(lab_.server(),
             "table inet wall { chain out { type filter hook output priority 0; tcp sport 7000 tcp flags & "
             "(syn | ack) == syn | ack quota until 60 bytes drop; }; }");
    const auto began = std::chrono::steady_clock::now();
    expect_echo(lab_, "first answer lost");
    EXPECT_LT(std::chrono::steady_clock::now() - began, 800ms);
}

TEST_F(PacketDial, FirstBytesThatAreLostAreSentAgain) {
    meet();
    wall(lab_.server(), "meta length > 200 quota until 300 bytes drop");
    expect_echo(lab_, ByteStream(2).next(250));
}

TEST_F(PacketDial, ServersThatDieAreGivenUpOn) {
    meet();
    wall(lab_.server(), "drop");
    std::vector<TcpSocket> clients;
    clients.reserve(100);
    for (int i = 0; i < 100; ++i)
        clients.push_back(say(lab_, "anybody there?"));
    for (TcpSocket& client : clients) {
        EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
        EXPECT_EQ(end_of(client.local()).text("end"), "upstream_timeout");
    }
    must_run(lab_.server(), "flush ruleset");
    expect_echo(lab_, "back again");
}

TEST_F(PacketDial, AClientThatLeavesMeanwhileIsNotWaitedFor) {
    meet();
    wall(lab_.server(), "drop");
    TcpSocket client = say(lab_, "anybody there?");
    const policy::Endpoint source = client.local();
    gateway_.wait_for("verdict", source);
    client.reset();
    EXPECT_EQ(end_of(source).text("end"), "client_gone");
}

TEST_F(PacketDial, AnAgentKilledMeanwhileLeavesNothing) {
    meet();
    wall(lab_.server(), "drop");
    TcpSocket client = say(lab_, "anybody there?");
    gateway_.wait_for("verdict", client.local());
    gateway_.kill();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    must_run(lab_.server(), "flush ruleset");
    gateway_.start();
    EXPECT_TRUE(gateway_.flows().empty());
    expect_echo(lab_, "somebody else");
    expect_echo(lab_, "somebody else again");
}

TEST_F(PacketDial, AStoppedAgentEndsIt) {
    meet();
    wall(lab_.server(), "drop");
    TcpSocket client = say(lab_, "anybody there?");
    gateway_.wait_for("verdict", client.local());
    EXPECT_EQ(gateway_.stop(), 0);
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
}

TEST_F(PacketDial, APortThatTheServerRemembersIsUsedAgain) {
    TcpServer hasty(lab_.server(), 7001, [](TcpSocket& socket) { socket.send(socket.receive_exactly(3)); });
    const policy::Endpoint to = Lab::server_v4(7001);
    meet(to);
    for (int time = 0; time < 4; ++time) {
        TcpSocket client = say(lab_, "ask", to, {.source = endpoint("10.10.1.2:40000")});
        const Received heard = client.receive_to_end();
        EXPECT_EQ(heard.bytes, "ask");
        EXPECT_EQ(heard.end, StreamEnd::eof);
    }
}

TEST_F(PacketDial, ACopyOfItsSynThatComesPastTheGatewaysProgramsIsNoSyn) {
    meet();
    must_run(
        lab_.gateway(),
        "table netdev twice { chain out { type filter hook egress device wan0 priority 0; tcp flags & (syn | "
        "ack) == syn dup to wan0; }; }");
    for (int i = 0; i < 3; ++i)
        expect_no_socket([&] { expect_echo(lab_, "once"); });
}

// Without connection tracking of the client's packets, which would know the tuple and leave it as it is.
TEST_F(PacketDial, ATranslatedSourceTakesTheSocket) {
    meet();
    lab_.gateway().ip("address add 10.10.2.9/24 dev wan0\n");
    must_run(lab_.gateway(),
             "table ip nat { chain pre { type filter hook prerouting priority raw; iifname lan0 notrack; }; "
             "chain out { type filter hook output priority raw; oifname lan0 notrack; }; "
             "chain post { type nat hook postrouting priority srcnat; oifname wan0 meta l4proto tcp snat to "
             "10.10.2.9; }; }");
    const std::uint64_t before = sockets_connected(lab_);
    for (int i = 0; i < 3; ++i)
        expect_echo(lab_, "through another address");
    EXPECT_EQ(sockets_connected(lab_), before + 3) << "each tries one";
    EXPECT_EQ(server_.peers().back().address.to_string(), "10.10.2.9");
}

TEST(PacketDialOnARoughLink, NothingIsLostOrChanged) {
    const Lab lab({.rough_server_link = true});
    TcpServer server(lab.server(), port, TcpServer::echo);
    Gateway gateway(lab, allow_all);
    for (std::size_t flow = 0; flow < 60; ++flow)
        expect_echo(lab, ByteStream(flow).next(1 + flow * 20), Lab::server_v4(port));
}

}  // namespace
}  // namespace sluice::test
