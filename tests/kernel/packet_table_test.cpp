// The packet splice's pinned state: who may use it, what it takes, what survives.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/kernel/packet_lab.h"
#include "tests/support/process.h"

namespace sluice::test {
namespace {

using datapath::PacketRefusal;
using datapath::PacketSplice;
using datapath::StateError;

LabFlow numbered(std::uint32_t number) {
    LabFlow flow;
    flow.id = number + 1;
    flow.client.port = flow.source.port = static_cast<std::uint16_t>(1024 + number);
    return flow;
}

TEST(PacketTable, ListsWhatAnOperatorWantsToKnow) {
    PacketLab lab;
    ASSERT_TRUE(lab.insert(LabFlow{.id = 42}));
    const auto reader = PacketSplice::open(lab.directory());
    const auto records = reader.list();
    ASSERT_EQ(records.size(), 1u);
    EXPECT_EQ(records[0].id, 42u);
    EXPECT_STREQ(records[0].server_name, "www.example.com");
    EXPECT_STREQ(records[0].rule, "all");
    EXPECT_EQ(records[0].mode, SPLICE_MODE_packet);
    EXPECT_EQ(records[0].source.port, 40000);
    EXPECT_EQ(records[0].destination.port, 443);
    EXPECT_EQ(records[0].destination.address[0], 10);
    EXPECT_EQ(records[0].destination.address[3], 2);
}

TEST(PacketTable, RefusesNewFlowsWhenFullAndEvictsNone) {
    PacketLab lab;
    for (std::uint32_t number = 0; number < 64; ++number)
        ASSERT_TRUE(lab.insert(numbered(number)));
    const auto refused = lab.insert(numbered(64));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error(), PacketRefusal::table_full);
    EXPECT_EQ(lab.splice().list().size(), 64u);
}

TEST(PacketTable, AFullTableGivesNewFlowsTheRoomOfThoseThatAreOver) {
    PacketLab lab;
    for (std::uint32_t number = 0; number < 64; ++number)
        ASSERT_TRUE(lab.insert(numbered(number)));
    const LabFlow over = numbered(40);
    ASSERT_TRUE(lab.kill(over.id));
    EXPECT_TRUE(lab.splice().contains(lab.up(over).arrives));
    EXPECT_TRUE(lab.insert(numbered(64)));
    EXPECT_FALSE(lab.splice().contains(lab.up(over).arrives));
    EXPECT_FALSE(lab.insert(numbered(65)));
    EXPECT_EQ(lab.splice().list().size(), 64u);
}

TEST(PacketTable, RefusesATupleThatIsInUse) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    LabFlow other;  // another client, the same upstream leg
    other.id = 2;
    other.client.port = 40001;
    const auto refused = lab.insert(other);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error(), PacketRefusal::tuple_in_use);
    EXPECT_FALSE(lab.splice().contains(lab.up(other).arrives)) << "half a flow is left";
    EXPECT_EQ(lab.splice().size(), 1u);
}

TEST(PacketTable, RefusesAnInterfaceThatItIsNotAttachedTo) {
    PacketLab lab;
    LabFlow flow;
    flow.lan = "none0";
    const auto refused = lab.insert(flow);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error(), PacketRefusal::interface);
}

TEST(PacketTable, FlowsOutliveTheAgentAndTheNextOneAdoptsThem) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    TcpServer server(lab.lab().server(), flow.server.port, TcpServer::echo);
    TcpSocket client = TcpSocket::connect(lab.lab().client(), flow.dialled, {.source = flow.client});
    client.send("one");
    EXPECT_EQ(client.receive_exactly(3), "one");
    lab.stop();
    client.send("two");
    EXPECT_EQ(client.receive_exactly(3), "two");
    lab.start();
    client.send("three");
    EXPECT_EQ(client.receive_exactly(5), "three");
    EXPECT_EQ(lab.splice().list().size(), 1u);
    EXPECT_STREQ(lab.listed(flow.id).server_name, "www.example.com");
    EXPECT_TRUE(lab.kill(flow.id));
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
}

TEST(PacketTable, AnAgentKilledInTheMiddleOfAnInsertLeavesNothing) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    const __u32 slot = lab.route(lab.up(flow).arrives).slot;
    const int flows = lab.splice().map_fd("packet_flows");
    packet_flow half{};
    ASSERT_EQ(bpf_map_lookup_elem(flows, &slot, &half), 0);
    half.state = PACKET_SLOT_filling;
    ASSERT_EQ(bpf_map_update_elem(flows, &slot, &half, BPF_ANY), 0);
    lab.stop();
    lab.start();
    EXPECT_FALSE(lab.splice().contains(lab.up(flow).arrives));
    EXPECT_FALSE(lab.splice().contains(lab.down(flow).arrives));
}

TEST(PacketTable, AnotherVersionsFlowsAreRefusedInOneSentence) {
    PacketLab lab;
    const int control = lab.splice().map_fd("packet_control");
    const __u32 key = 0;
    packet_control written{};
    ASSERT_EQ(bpf_map_lookup_elem(control, &key, &written), 0);
    written.abi_version = PACKET_ABI_VERSION + 1;
    ASSERT_EQ(bpf_map_update_elem(control, &key, &written, BPF_ANY), 0);
    lab.stop();
    for (const bool agent : {true, false}) {
        try {
            if (agent) lab.start();
            if (!agent) PacketSplice::open(lab.directory());
            ADD_FAILURE() << "not refused";
        } catch (const StateError& error) {
            const std::string what = error.what();
            EXPECT_NE(what.find("another version of sluice"), what.npos) << what;
            EXPECT_EQ(what.find('\n'), what.npos);
        }
    }
}

TEST(PacketTable, RemovingAllLeavesOtherPeoplesFiltersAndNothingOfOurs) {
    PacketLab lab;
    lab.lab().gateway().tc("filter add dev lan0 ingress prio 7 protocol ip u32 match u32 0 0 flowid 1:1\n");
    const auto filters = [&] {
        return run_process({"tc", "filter", "show", "dev", "lan0", "ingress"},
                           {.netns = &lab.lab().gateway()})
            .out;
    };
    EXPECT_NE(filters().find("packet_ethern"), std::string::npos);
    lab.stop();
    lab.lab().gateway().run([&] { PacketSplice::remove_all(lab.directory()); });
    EXPECT_EQ(filters().find("packet_ethern"), std::string::npos);
    EXPECT_NE(filters().find("u32"), std::string::npos);
    EXPECT_TRUE(std::filesystem::is_empty(lab.directory()));
    lab.lab().gateway().run([&] { PacketSplice::remove_all(lab.directory()); });  // again is no error
}

TEST(PacketTable, AnInterfaceThatAppearsLaterIsTakenIn) {
    PacketLab lab;
    lab.lab().gateway().ip("link add late0 type veth peer name late1\n");
    LabFlow flow;
    flow.wan = "late0";
    EXPECT_TRUE(wait_until([&] {
        lab.lab().gateway().run([&] { lab.splice().attach_new(); });
        return lab.insert(flow).has_value();
    }));
    const auto filters =
        run_process({"tc", "filter", "show", "dev", "late0", "ingress"}, {.netns = &lab.lab().gateway()});
    EXPECT_NE(filters.out.find("packet_ethern"), std::string::npos) << filters.out;
}

TEST(PacketTable, AFlowTakesAtMost512BytesOfTheKernelsMemory) {
    constexpr std::uint32_t flows = 65'536;
    PacketLab lab({}, {.flows_max = flows, .idle_s = 0, .half_close_s = 0});
    const std::uint64_t bytes = lab.kernel_bytes();
    ASSERT_GT(bytes, 0u);
    EXPECT_LE(bytes / flows, 512u);
    RecordProperty("bytes_per_flow", static_cast<int>(bytes / flows));
}

}  // namespace
}  // namespace sluice::test
