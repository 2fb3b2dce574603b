// Whole TCP streams between real stacks, translated on their way by the packet splice.
#include <gtest/gtest.h>

#include <string>

#include "tests/kernel/packet_exchange.h"
#include "tests/kernel/packet_lab.h"
#include "tests/support/packet_counter.h"

namespace sluice::test {
namespace {

TEST(PacketStream, ArrivesWholeInBothDirections) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    exchange(lab, flow, 50 * megabyte);
}

TEST(PacketStream, ArrivesWholeOverIpv6) {
    PacketLab lab;
    const LabFlow flow = flow_v6();
    ASSERT_TRUE(lab.insert(flow));
    exchange(lab, flow, 50 * megabyte);
}

// `source: gateway`, and a destination that was resolved from the name.
TEST(PacketStream, ArrivesWholeWhereTheUpstreamLegHasOtherAddressesAndPorts) {
    PacketLab lab;
    LabFlow flow;
    flow.dialled = endpoint("198.51.100.7:8443");
    flow.source = endpoint("10.10.2.1:50123");
    ASSERT_TRUE(lab.insert(flow));
    exchange(lab, flow, 20 * megabyte);
    LabFlow flow6 = flow_v6();
    flow6.id = 2;
    flow6.dialled = endpoint("[2001:db8::7]:8443");
    flow6.source = endpoint("[fd00:2::1]:50123");
    ASSERT_TRUE(lab.insert(flow6));
    exchange(lab, flow6, 20 * megabyte);
}

TEST(PacketStream, SurvivesLossReorderingAndDuplication) {
    PacketLab lab({.rough_client_link = true, .rough_server_link = true});
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    exchange(lab, flow, 5 * megabyte);
}

TEST(PacketStream, WithoutTimestampsSackOrScalingEachAlone) {
    for (const char* key : {"net/ipv4/tcp_timestamps", "net/ipv4/tcp_sack", "net/ipv4/tcp_window_scaling"}) {
        PacketLab lab({.rough_server_link = true});
        lab.lab().client().sysctl(key, "0");
        const LabFlow flow;
        ASSERT_TRUE(lab.insert(flow));
        exchange(lab, flow, megabyte);
    }
}

TEST(PacketStream, NothingOfItReachesTheGatewaysStackAndNoChecksumIsWrong) {
    PacketLab lab;
    const LabFlow flow;
    const PacketCounter seen(lab.lab().gateway(), "meta l4proto tcp", "prerouting");
    ASSERT_TRUE(lab.insert(flow));
    exchange(lab, flow, megabyte);
    EXPECT_EQ(seen.packets(), 0u);
    EXPECT_EQ(lab.lab().client().tcp_counter("InCsumErrors"), 0u);
    EXPECT_EQ(lab.lab().server().tcp_counter("InCsumErrors"), 0u);
}

// Our changes move the checksum by as much as they must and by no more, so that its receiver notices.
TEST(PacketStream, WhatALinkHasDamagedIsNeverMended) {
    for (const LabFlow& flow : {LabFlow{}, flow_v6()}) {
        PacketLab lab({.client_wire = WireOptions{.damaged = 10}, .server_wire = WireOptions{}});
        ASSERT_TRUE(lab.insert(flow));
        exchange(lab, flow, 2 * megabyte);
        EXPECT_GT(lab.lab().client_wire().frames_damaged(), 10u);
        EXPECT_GT(lab.lab().client().tcp_counter("InCsumErrors"), 0u);
        EXPECT_GT(lab.lab().server().tcp_counter("InCsumErrors"), 0u);
    }
}

TEST(PacketStream, SurvivesLossReorderingAndDuplicationOverALongWay) {
    const WireOptions wire{.delay = 10ms, .lost = 5, .doubled = 10, .late = 10};
    PacketLab lab({.client_wire = wire, .server_wire = wire});
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    exchange(lab, flow, megabyte / 2);
}

// Segments that cards and stacks put together are cut up only behind us.
TEST(PacketStream, LargeSegmentsPassAsTheyAre) {
    for (const LabFlow& flow : {LabFlow{}, flow_v6()}) {
        PacketLab lab;
        ASSERT_TRUE(lab.insert(flow));
        constexpr std::uint64_t bytes = 5 * megabyte;
        exchange(lab, flow, bytes);
        EXPECT_LT(lab.route(lab.up(flow).arrives).packets, bytes / 1448)
            << "with the acknowledgements of as much the other way";
        EXPECT_LT(lab.route(lab.down(flow).arrives).packets, bytes / 1448);
    }
}

// The receiver's window closes for longer than several retransmission timers, and the sender asks until it
// opens.
TEST(PacketStream, AWindowOfZeroIsProbedUntilItOpens) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    StreamSum received;
    TcpServer server(
        lab.lab().server(), flow.server.port,
        [&](TcpSocket& socket) {
            wait_until([&] { return lab.lab().client().tcp_counter("TCPWinProbe") >= 3; });
            received = receive_stream(socket);
            socket.send("all");
        },
        16'384);
    TcpSocket client = TcpSocket::connect(lab.lab().client(), flow.dialled, {.source = flow.client});
    const StreamSum sent = send_stream(client, 1, 8 * megabyte);
    EXPECT_EQ(client.receive_exactly(3), "all");
    EXPECT_EQ(received, sent);
    EXPECT_GE(lab.lab().client().tcp_counter("TCPWinProbe"), 3u);
}

}  // namespace
}  // namespace sluice::test
