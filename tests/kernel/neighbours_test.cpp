// Whose MAC address the kernel's neighbour table knows, and whose it does not.
#include "userspace/datapath/neighbours.h"

#include <gtest/gtest.h>

#include "tests/support/lab.h"

namespace sluice::datapath {
namespace {

class Neighbour : public testing::Test {
  protected:
    std::string mac_of(const std::string& address) {
        return lab_.gateway().run([&] {
            const auto mac = neighbours_.mac_of(policy::IpAddress::parse(address).value());
            return mac ? mac->to_string() : std::string("unknown");
        });
    }
    void add(const std::string& address, const std::string& rest) {
        lab_.gateway().ip("neighbour add " + address + " lladdr 02:00:5e:10:00:09 " + rest + "\n");
    }

    const test::Lab lab_;
    Neighbours neighbours_;
};

TEST_F(Neighbour, OnTheLinkThatAnswersGoToIsKnownInWhateverStateItsAddressIs) {
    for (const char* state : {"permanent", "reachable", "stale", "delay", "probe"}) {
        add("10.10.1.9", std::string("dev lan0 nud ") + state);
        add("fd00:1::9", std::string("dev lan0 nud ") + state);
        EXPECT_EQ(mac_of("10.10.1.9"), "02:00:5e:10:00:09") << state;
        EXPECT_EQ(mac_of("fd00:1::9"), "02:00:5e:10:00:09") << state;
        lab_.gateway().ip("neighbour del 10.10.1.9 dev lan0\nneighbour del fd00:1::9 dev lan0\n");
        EXPECT_EQ(mac_of("10.10.1.9"), "unknown") << state;
    }
    add("10.10.1.9", "dev wan0 nud permanent");
    EXPECT_EQ(mac_of("10.10.1.9"), "unknown") << "on another link";
}

TEST_F(Neighbour, BehindARouterIsUnknownWhateverTheTableSays) {
    lab_.gateway().ip(
        "route add 10.10.9.0/24 via 10.10.1.2\nroute add fd00:9::/64 via fd00:1::2\n"
        "route add 10.10.8.0/24 via inet6 fd00:1::2 dev lan0\n");
    for (const char* behind : {"10.10.9.2", "10.10.8.2", "fd00:9::2"}) {
        add(behind, "dev lan0 nud permanent");
        EXPECT_EQ(mac_of(behind), "unknown") << behind;
    }
    lab_.gateway().ip("route add 10.10.9.2/32 dev lan0\n");
    EXPECT_EQ(mac_of("10.10.9.2"), "02:00:5e:10:00:09") << "the same, on the link";
}

TEST_F(Neighbour, WhoHasNoAddressThatIsHisAloneIsUnknown) {
    add("fe80::9", "dev lan0 nud permanent");
    EXPECT_EQ(mac_of("fe80::9"), "unknown") << "every link may have such a one";
    add("10.10.1.9", "dev lan0 nud noarp");
    EXPECT_EQ(mac_of("10.10.1.9"), "unknown") << "nobody has told it";
    for (const char* own : {"10.10.1.1", "fd00:2::1"}) {
        for (const char* device : {"lo", "lan0", "wan0"})
            add(own, std::string("dev ") + device + " nud permanent");
        EXPECT_EQ(mac_of(own), "unknown") << own;
    }
    EXPECT_EQ(mac_of("198.51.100.1"), "unknown") << "no way to it";
}

}  // namespace
}  // namespace sluice::datapath
