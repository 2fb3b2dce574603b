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

}  // namespace
}  // namespace sluice::test
