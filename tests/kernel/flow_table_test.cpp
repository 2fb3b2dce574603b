// The pinned flow table, in a state directory of its own on the real bpffs.
#include "userspace/datapath/flow_table.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

namespace sluice::datapath {
namespace {

class FlowTableTest : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_EQ(::geteuid(), 0u) << "needs root";
        remove();
    }
    void TearDown() override { remove(); }
    void remove() {
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    static flow_record record(std::uint64_t id) {
        flow_record flow{};
        flow.id = id;
        std::strcpy(flow.server_name, "www.example.com");
        return flow;
    }

    const std::string directory_ = "/sys/fs/bpf/sluice-test-table-" + std::to_string(::getpid());
};

TEST_F(FlowTableTest, AReaderSeesWhatTheAgentWrites) {
    FlowTable agent = FlowTable::own(directory_);
    EXPECT_TRUE(agent.put(record(7)));
    EXPECT_TRUE(agent.put(record(3)));
    const FlowTable reader = FlowTable::open(directory_);
    ASSERT_EQ(reader.list().size(), 2u);
    EXPECT_EQ(reader.list()[0].id, 3u);
    EXPECT_STREQ(reader.find(7)->server_name, "www.example.com");
    agent.erase(7);
    EXPECT_FALSE(reader.find(7).has_value());
}

TEST_F(FlowTableTest, FlowsOutliveTheAgentAndTheNextOneAdoptsThem) {
    {
        FlowTable agent = FlowTable::own(directory_);
        agent.put(record(1));
        EXPECT_TRUE(FlowTable::open(directory_).agent_is_running());
    }
    EXPECT_FALSE(FlowTable::open(directory_).agent_is_running());
    EXPECT_EQ(FlowTable::open(directory_).list().size(), 1u);
    EXPECT_EQ(FlowTable::own(directory_).list().size(), 1u);
}

TEST_F(FlowTableTest, ASecondAgentIsRefused) {
    const FlowTable agent = FlowTable::own(directory_);
    try {
        FlowTable::own(directory_);
        FAIL() << "two agents own one table";
    } catch (const StateError& error) {
        EXPECT_EQ(error.what(), directory_ + ": another sluice agent is running with this state");
    }
}

TEST_F(FlowTableTest, AnotherAbiVersionIsRefusedByAgentAndReader) {
    {
        FlowTable agent = FlowTable::own(directory_);
        agent_record future{};
        future.abi_version = FLOW_ABI_VERSION + 1;
        agent.write_agent(future);
    }
    EXPECT_THROW(FlowTable::own(directory_), StateError);
    EXPECT_THROW(FlowTable::open(directory_), StateError);
}

TEST_F(FlowTableTest, AKillRequestReachesTheAgentThroughTheKernel) {
    FlowTable agent = FlowTable::own(directory_);
    pollfd events{.fd = agent.events_fd(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&events, 1, 0), 0);
    EXPECT_TRUE(FlowTable::open(directory_).request_kill(42));
    EXPECT_EQ(::poll(&events, 1, 1000), 1);
    std::vector<std::uint64_t> killed;
    agent.read_events([&](std::uint64_t id) { killed.push_back(id); });
    EXPECT_EQ(killed, std::vector<std::uint64_t>{42});
}

TEST_F(FlowTableTest, WithoutAnyAgentEverAReaderIsToldSo) {
    try {
        FlowTable::open(directory_);
        FAIL() << "opened a table that is not there";
    } catch (const StateError& error) {
        EXPECT_NE(std::string(error.what()).find("no agent has run"), std::string::npos) << error.what();
    }
}

}  // namespace
}  // namespace sluice::datapath
