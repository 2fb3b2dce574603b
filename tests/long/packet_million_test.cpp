// A million flows at once.
#include <gtest/gtest.h>

#include "tests/kernel/packet_exchange.h"

namespace sluice::test {
namespace {

TEST(PacketMillion, FlowsTakeHalfAKilobyteEachAndServeAsOneDoes) {
    constexpr std::uint32_t flows = 1'000'000;
    PacketLab lab({}, {.flows_max = flows, .idle_s = 0, .half_close_s = 0});
    LabFlow other;
    other.client = other.source = endpoint("10.10.1.3:1024");
    datapath::PacketDirection up = lab.up(other);
    datapath::PacketDirection down = lab.down(other);
    for (std::uint32_t i = 1; i < flows; ++i) {
        const __u32 address = htonl(0x0b000000 + i / 50'000);
        const __u16 port = htons(static_cast<std::uint16_t>(1024 + i % 50'000));
        up.arrives.source[3] = up.route.leaves.source[3] = address;
        down.arrives.destination[3] = down.route.leaves.destination[3] = address;
        up.arrives.source_port = up.route.leaves.source_port = port;
        down.arrives.destination_port = down.route.leaves.destination_port = port;
        datapath::PacketFlow flow;
        flow.id = i;
        ASSERT_TRUE(lab.splice().insert(flow, up, down)) << i;
    }
    LabFlow last;
    last.id = flows;
    ASSERT_TRUE(lab.insert(last));
    LabFlow too_many;
    too_many.client.port = too_many.source.port = 40002;
    EXPECT_EQ(lab.insert(too_many).error(), datapath::PacketRefusal::table_full);
    EXPECT_LE(lab.kernel_bytes() / flows, 513u) << "512, and the buckets of the next power of two";
    EXPECT_GT(lab.kernel_bytes(), 0u);

    EXPECT_EQ(lab.splice().size(), flows);
    EXPECT_EQ(lab.splice().list().size(), flows);
    exchange(lab, last, 100 * megabyte);
    EXPECT_TRUE(lab.kill(500'000));
    // The collector sees all of them in ten seconds, and takes what has ended away.
    EXPECT_TRUE(wait_until([&] { return lab.splice().size() == flows - 2; }, 60s));
    EXPECT_TRUE(wait_until([&] { return lab.insert(too_many).has_value(); }, 60s));
}

}  // namespace
}  // namespace sluice::test
