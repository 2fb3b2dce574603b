// Servers that speak first, in a pinned map of a state directory of its own on the real bpffs.
#include "userspace/datapath/learned_servers.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "userspace/agent/learning.h"
#include "userspace/datapath/flow_table.h"

namespace sluice::datapath {
namespace {

using policy::Protocol;

policy::Endpoint server(const std::string& text) {
    return policy::Endpoint::parse(text).value();
}

class LearnedServersTest : public testing::Test {
  protected:
    LearnedServersTest() : state_(FlowTable::own(directory_)) {}  // makes the directory
    ~LearnedServersTest() override {
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }

    const std::string directory_ = "/sys/fs/bpf/sluice-test-learned-" + std::to_string(::getpid());
    FlowTable state_;
};

TEST_F(LearnedServersTest, OutliveWhoLearnedThem) {
    EXPECT_FALSE(LearnedServers::open(directory_));
    {
        LearnedServers agent = LearnedServers::own(directory_);
        agent.learn(server("192.0.2.1:22"), Protocol::ssh);
        agent.learn(server("[2001:db8::1]:25"), Protocol::smtp);
    }
    LearnedServers next = LearnedServers::own(directory_);
    EXPECT_TRUE(next.knows(server("192.0.2.1:22")));
    EXPECT_FALSE(next.knows(server("192.0.2.1:23")));
    EXPECT_FALSE(next.knows(server("192.0.2.2:22")));
    const auto all = LearnedServers::open(directory_).value().list();
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(all[0].server.to_string(), "[2001:db8::1]:25");
    EXPECT_EQ(all[0].protocol, Protocol::smtp);
    EXPECT_TRUE(next.forget(server("192.0.2.1:22")));
    EXPECT_FALSE(next.forget(server("192.0.2.1:22")));
    EXPECT_FALSE(next.knows(server("192.0.2.1:22")));
}

TEST_F(LearnedServersTest, ThousandsTakeNoMoreThanTheirRoomAndTheLastOnesStay) {
    LearnedServers learned = LearnedServers::own(directory_);
    constexpr unsigned many = 3 * learned_servers_max;
    policy::Endpoint last;
    for (unsigned i = 0; i < many; ++i) {
        last = {server("192.0.2.1:1").address, static_cast<std::uint16_t>(i % 60000 + 1)};
        learned.learn(last, Protocol::ftp);
    }
    EXPECT_LE(learned.list().size(), learned_servers_max);
    EXPECT_GE(learned.list().size(), learned_servers_max / 2);
    EXPECT_TRUE(learned.knows(last));
}

TEST_F(LearnedServersTest, OneClientAddsFewAMinuteAndOthersAreNotHeldUp) {
    LearnedServers servers = LearnedServers::own(directory_);
    agent::Learning learning(servers);
    const auto client = server("10.0.0.1:1").address;
    const auto other = server("10.0.0.2:1").address;
    const auto now = agent::Learning::Clock::now();
    const auto place = [](unsigned i) {
        return policy::Endpoint{server("192.0.2.1:1").address, static_cast<std::uint16_t>(1000 + i)};
    };
    for (unsigned i = 0; i < 100; ++i)
        learning.learn(client, place(i), Protocol::ssh, now);
    EXPECT_EQ(servers.list().size(), agent::Learning::news_max);
    learning.learn(other, place(200), Protocol::ssh, now);
    EXPECT_TRUE(learning.knows(place(200)));
    learning.learn(client, place(201), Protocol::ssh, now + std::chrono::minutes(1));
    EXPECT_TRUE(learning.knows(place(201)));
}

}  // namespace
}  // namespace sluice::datapath
