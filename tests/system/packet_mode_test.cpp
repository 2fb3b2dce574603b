// Flows whose packets the kernel forwards: which qualify, and that no agent is needed for them.
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include <string>
#include <thread>

#include "tests/support/byte_stream.h"
#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/process.h"
#include "tests/support/raw_peer.h"
#include "tests/support/short_flows.h"
#include "tests/support/tcp_server.h"
#include "tests/support/wait.h"

namespace sluice::test {
namespace {

constexpr const char* allow_all = "peek: {silence_ms: 100}\npolicy: {default: allow}\n";

void expect_echo(TcpSocket& client, std::string_view bytes) {
    client.send(bytes);
    EXPECT_EQ(client.receive_exactly(bytes.size()), bytes);
}

// Talks through the gateway and tells in which mode, and why.
std::string mode_of_a_flow(const Lab& lab, Gateway& gateway, const policy::Endpoint& server) {
    TcpSocket client = TcpSocket::connect(lab.client(), server);
    expect_echo(client, "question");
    expect_echo(client, std::string(300'000, 'x'));
    std::string mode;
    wait_until([&] {
        const auto flows = gateway.flows();
        if (flows.size() == 1) mode = flows[0].text("mode") + " " + flows[0].text("reason");
        return !mode.empty();
    });
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
    gateway.wait_for("end", client.local());
    return mode;
}

TEST(PacketMode, KilledAgentIsNotMissedAndTheNextOneHasTheFlow) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    expect_echo(client, "before");
    gateway.kill();
    expect_echo(client, ByteStream(1).next(1'000'000));
    gateway.start();
    expect_echo(client, "after");
    const auto flows = gateway.flows();
    ASSERT_EQ(flows.size(), 1u);
    EXPECT_EQ(flows[0].text("mode"), "packet");
    EXPECT_EQ(flows[0].number("bytes_up"), 1'000'011u);
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
    const JsonRecord end = gateway.wait_for("end", client.local());
    EXPECT_EQ(end.text("end"), "closed");
    EXPECT_EQ(end.number("bytes_down"), 1'000'011u);
}

TEST(PacketMode, StoppedAgentLeavesFlowsAndRemoveEndsThem) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    expect_echo(client, "before");
    EXPECT_EQ(gateway.sluice({"remove"}).exit_code, 1) << "an agent is running";
    EXPECT_EQ(gateway.stop(), 0);
    expect_echo(client, "after");
    const Finished removed = gateway.sluice({"remove"});
    EXPECT_EQ(removed.exit_code, 0) << removed.err;
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_NE(gateway.sluice({"flows"}).exit_code, 0) << "there is no table any more";
}

// What has been acknowledged would have to be kept.
TEST(PacketMode, AcknowledgesNothingToTheClientBeforeTheServerDoes) {
    const Lab lab;
    Gateway gateway(lab, allow_all);
    // The server is known after the first, and then reached without a socket.
    for (const std::string& question : {std::string("GET / HTTP/1.0\r\n\r\n"), build_hello()}) {
        const policy::Endpoint source = endpoint(question[0] == 'G' ? "10.10.1.2:50000" : "10.10.1.2:50001");
        RawPeer server(lab.server(), Lab::server_v4(7000), source);
        RawPeer client(lab.client(), source, Lab::server_v4(7000));
        ASSERT_TRUE(client.connect());
        client.say(question);
        ASSERT_TRUE(server.accept());
        std::optional<RawSegment> heard;
        do
            heard = server.receive();
        while (heard && heard->payload.empty());
        ASSERT_TRUE(heard);
        EXPECT_EQ(heard->payload, question);
        server.ack += static_cast<std::uint32_t>(question.size());
        server.say("answer");
        const auto first = client.receive();
        ASSERT_TRUE(first);
        EXPECT_EQ(first->payload, "answer") << "somebody else has acknowledged it";
        client.ack += static_cast<std::uint32_t>(first->payload.size());
        client.send({.flags = TH_RST});
        EXPECT_EQ(gateway.wait_for("end", source).text("mode"), "packet");
    }
}

TEST(PacketMode, AcknowledgesNoBannerBeforeTheClientDoes) {
    const Lab lab;
    for (const char* option : {"tcp_timestamps", "tcp_sack", "tcp_window_scaling"})
        lab.client().sysctl(std::string("net/ipv4/") + option, "0");
    Gateway gateway(lab, allow_all);
    const policy::Endpoint source = endpoint("10.10.1.2:50000");
    RawPeer server(lab.server(), Lab::server_v4(7000), source);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000), {.source = source});
    ASSERT_TRUE(server.accept());
    const std::string silence =
        "table ip silent { chain out { type filter hook output priority 0; drop; }; }";
    ASSERT_EQ(run_process({"nft", "-f", "-"}, {.netns = &lab.client(), .input = silence}).exit_code, 0);
    server.say("banner");
    EXPECT_TRUE(wait_until([&] { return client.bytes_readable() == 6; }));
    while (const auto segment = server.receive(50ms))
        EXPECT_NE(segment->ack, server.seq) << "the client cannot have acknowledged it";
    EXPECT_EQ(run_process({"nft", "delete", "table", "ip", "silent"}, {.netns = &lab.client()}).exit_code, 0);
    client.send("thanks");
    EXPECT_EQ(server.hear(6), "thanks");
}

// It is acknowledged meanwhile, or its client would send it again and again.
TEST(PacketMode, TakesAFlowWhoseHelloComesSlowly) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    const std::string hello = build_hello();
    client.send(hello.substr(0, 100));
    std::this_thread::sleep_for(300ms);  // the client under test: slower than a hold may be long
    client.send(hello.substr(100));
    EXPECT_EQ(client.receive_exactly(hello.size()), hello);
    expect_echo(client, "question");
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
    const JsonRecord end = gateway.wait_for("end", client.local());
    EXPECT_EQ(end.text("mode") + " " + end.text("reason"), "packet automatic");
    EXPECT_EQ(end.number("bytes_up"), hello.size() + 8);
}

TEST(PacketMode, TakesClientsThatLackAnOption) {
    for (const char* option : {"tcp_timestamps", "tcp_sack", "tcp_window_scaling"}) {
        SCOPED_TRACE(option);
        const Lab lab;
        lab.client().sysctl(std::string("net/ipv4/") + option, "0");
        TcpServer server(lab.server(), 7000, TcpServer::echo);
        Gateway gateway(lab, allow_all);
        EXPECT_EQ(mode_of_a_flow(lab, gateway, Lab::server_v4(7000)), "packet automatic");
    }
}

TEST(PacketMode, RelaysWhatTheServerDoesNotOffer) {
    const Lab lab;
    lab.server().sysctl("net/ipv4/tcp_timestamps", "0");
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all);
    EXPECT_EQ(mode_of_a_flow(lab, gateway, Lab::server_v4(7000)), "relay timestamps_differ");
}

TEST(PacketMode, TakesIpv6) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all);
    EXPECT_EQ(mode_of_a_flow(lab, gateway, Lab::server_v6(7000)), "packet automatic");
}

TEST(PacketMode, TakesFlowsWithTheGatewaysOwnAddress) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, std::string("upstream: {source: gateway}\n") + allow_all);
    EXPECT_EQ(mode_of_a_flow(lab, gateway, Lab::server_v4(7000)), "packet automatic");
    EXPECT_EQ(server.peers().at(0).address.to_string(), "10.10.2.1");
}

// A leg with the client's own address is not translated by netfilter: its tuple is that of the client's leg,
// which connection tracking knows.
TEST(PacketMode, TakesFlowsThatNetfilterTranslates) {
    const Lab lab;
    lab.gateway().ip("address add 10.10.2.9/24 dev wan0\n");
    const std::string rules =
        "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname wan0 meta l4proto "
        "tcp snat to "
        "10.10.2.9:50000-60000; }; }";
    ASSERT_EQ(run_process({"nft", "-f", "-"}, {.netns = &lab.gateway(), .input = rules}).exit_code, 0);
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, std::string("upstream: {source: gateway}\n") + allow_all);
    EXPECT_EQ(mode_of_a_flow(lab, gateway, Lab::server_v4(7000)), "packet automatic");
    EXPECT_EQ(server.peers().at(0).address.to_string(), "10.10.2.9");
}

// Its sequence number would be taken for the flow's, for all of its life.
TEST(PacketMode, ADamagedAnswerOfTheServersIsNotBelieved) {
    const Lab lab;
    for (const char* option : {"tcp_timestamps", "tcp_sack", "tcp_window_scaling"})
        lab.client().sysctl(std::string("net/ipv4/") + option, "0");
    Gateway gateway(lab, allow_all);
    const policy::Endpoint source = endpoint("10.10.1.2:50000");
    RawPeer server(lab.server(), Lab::server_v4(7000), source);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000), {.source = source});
    client.send("question");
    ASSERT_TRUE(server.accept([&] {
        server.send({.flags = TH_SYN | TH_ACK, .seq = server.seq + 1000, .checksum = RawChecksum::wrong});
    }));
    EXPECT_EQ(server.hear(8), "question");
    EXPECT_TRUE(wait_until([&] {
        const auto flows = gateway.flows();
        return flows.size() == 1 && flows[0].text("mode") == "packet";
    }));
    server.say("answer");
    EXPECT_EQ(client.receive_exactly(6), "answer");
}

TEST(PacketMode, ThousandsOfShortFlowsOnPortsUsedAgainMisfitNowhere) {
    const Lab lab;
    Gateway gateway(lab, allow_all);
    EXPECT_EQ(run_short_flows(lab, 7000, 4000), 4000u);
    EXPECT_EQ(misfits(lab), "");
}

}  // namespace
}  // namespace sluice::test
