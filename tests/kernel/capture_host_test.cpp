// The capture on unusual hosts (one interface, no IPv6, somebody else's routes), and what it leaves behind.
#include <linux/capability.h>
#include <sys/syscall.h>

#include "tests/kernel/capture_lab.h"

namespace sluice::datapath {
namespace {

// ---- one interface both ways: client, gateway and server on one switch

class OneArmed : public ::testing::Test {
  protected:
    OneArmed() {
        switch_.ip("link add br0 type bridge\nlink set br0 up\n");
        plug(client_, "client", "10.20.1.2/24", "10.20.1.1");
        plug(server_, "server", "10.20.2.2/24", "10.20.2.1");
        plug(gateway_, "gateway", "10.20.1.1/24", "");
        gateway_.ip("address add 10.20.2.1/24 dev eth0\n");
        gateway_.sysctl("net/ipv4/ip_forward", "1");
        config_.interfaces = {"eth0"};
    }

    void plug(const Netns& host, const std::string& port, const std::string& address,
              const std::string& router) {
        switch_.ip("link add " + port + " type veth peer name eth0 netns " + host.name() + "\nlink set " +
                   port + " master br0 up\n");
        host.ip("address add " + address + " dev eth0\nlink set eth0 up\n" +
                (router.empty() ? "" : "route add default via " + router + "\n"));
    }

    Netns switch_{"switch"};
    Netns client_{"client"};
    Netns gateway_{"gateway"};
    Netns server_{"server"};
    CaptureConfig config_;
};

TEST_F(OneArmed, CarriesBothLegs) {
    const Installed rules(gateway_, config_);
    const Listener agent(gateway_);
    const TcpServer server(server_, 443, TcpServer::echo);
    TcpSocket client = TcpSocket::connect(client_, endpoint("10.20.2.2:443"));
    TcpSocket downstream = agent.accept();
    TcpSocket upstream = connect_upstream(gateway_, downstream.peer(), downstream.local());
    EXPECT_TRUE(wait_until([&] { return server.accepted() == 1; }));
    EXPECT_EQ(server.peers().at(0).to_string(), client.local().to_string());
    upstream.send("to the server");
    EXPECT_EQ(upstream.receive_exactly(13), "to the server");
    downstream.send("to the client");
    EXPECT_EQ(client.receive_exactly(13), "to the client");
}

TEST_F(OneArmed, CarriesAnUpstreamLegOfTheGatewaysOwnAddress) {
    const Installed rules(gateway_, config_);
    const TcpServer server(server_, 443, TcpServer::echo);
    TcpSocket upstream = TcpSocket::connect(gateway_, endpoint("10.20.2.2:443"));
    upstream.send("ping");
    EXPECT_EQ(upstream.receive_exactly(4), "ping");
}

TEST_F(OneArmed, LetsAnswersOfExcludedServersPass) {
    config_.exclude_destinations = prefix("10.20.2.2");
    const Installed rules(gateway_, config_);
    const Listener agent(gateway_);
    const TcpServer server(server_, 443, TcpServer::echo);
    TcpSocket client = TcpSocket::connect(client_, endpoint("10.20.2.2:443"));
    client.send("ping");
    EXPECT_EQ(client.receive_exactly(4), "ping");
    EXPECT_FALSE(agent.waiting(0ms));
}

// ---- what is left on the host

constexpr const char* of_others =
    "table inet filter { chain forward { type filter hook forward priority 0; tcp dport 25 drop; }; }";

TEST(CaptureHost, IsAsBeforeAfterRemovalAndTwiceIsOnce) {
    const Lab lab;
    nft(lab.gateway(), of_others);
    lab.gateway().ip(
        "rule add fwmark 0x1 lookup 100 priority 15000\nroute add local default dev lo table 100\n");
    const std::string before = host_state(lab.gateway());
    CaptureConfig config = config_of_lan();
    config.interfaces.push_back("not-there-yet0");
    lab.gateway().run([&] { install_capture(config); });
    const std::string once = host_state(lab.gateway());
    EXPECT_NE(once, before);
    lab.gateway().run([&] { install_capture(config); });
    EXPECT_EQ(host_state(lab.gateway()), once);
    lab.gateway().run([&] { remove_capture(config); });
    EXPECT_EQ(host_state(lab.gateway()), before);
    lab.gateway().run([&] { remove_capture(config); });
    EXPECT_EQ(host_state(lab.gateway()), before);
}

TEST(CaptureHost, LosesWhatAKilledAgentOfAnotherConfigurationLeft) {
    const Lab lab;
    const std::string before = host_state(lab.gateway());
    CaptureConfig other = config_of_lan();
    other.mark = 0x20000000;
    other.routing_table = 200;
    other.ports = ports(25);
    lab.gateway().run([&] { install_capture(other); });
    {
        const Installed rules(lab.gateway(), config_of_lan());
        const std::string now = host_state(lab.gateway());
        EXPECT_EQ(now.find("0x20000000"), std::string::npos) << now;
        EXPECT_EQ(now.find("table 200"), std::string::npos) << now;
    }
    EXPECT_EQ(host_state(lab.gateway()), before);
}

TEST(CaptureHost, CapturesIpv4WhereIpv6IsSwitchedOff) {
    const Lab lab;
    lab.gateway().sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    const std::string before = host_state(lab.gateway());
    {
        const Installed rules(lab.gateway(), config_of_lan());
        const Listener agent(lab.gateway());
        EXPECT_EQ(connect_errno(lab, Lab::server_v4(443)), 0);
        EXPECT_TRUE(agent.waiting());
    }
    EXPECT_EQ(host_state(lab.gateway()), before);
}

std::string install_error(const Netns& netns, const CaptureConfig& config) {
    try {
        netns.run([&] { install_capture(config); });
    } catch (const CaptureError& error) {
        return error.what();
    }
    return "no error";
}

TEST(CaptureHost, NamesTheRoutingTableThatSomebodyElseUses) {
    const Lab lab;
    lab.gateway().ip("route add default via 10.10.2.2 table 15001\n");
    const std::string before = host_state(lab.gateway());
    EXPECT_EQ(
        install_error(lab.gateway(), config_of_lan()),
        "ip route add local default dev lo table 15001: the table has another default route; choose another "
        "table");
    EXPECT_EQ(host_state(lab.gateway()), before);
}

// Takes a capability from this thread for a while.
class WithoutNetAdmin {
  public:
    WithoutNetAdmin() {
        syscall(SYS_capget, &header_, kept_);
        __user_cap_data_struct fewer[2] = {kept_[0], kept_[1]};
        fewer[0].effective &= ~(1u << CAP_NET_ADMIN);
        syscall(SYS_capset, &header_, fewer);
    }
    ~WithoutNetAdmin() { syscall(SYS_capset, &header_, kept_); }

  private:
    __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct kept_[2] = {};
};

TEST(CaptureHost, SaysInOneLineWhatItMayNotDo) {
    const Lab lab;
    const std::string before = host_state(lab.gateway());
    std::string error;
    testing::internal::CaptureStderr();
    lab.gateway().run([&] {
        const WithoutNetAdmin nobody;
        try {
            install_capture(config_of_lan());
        } catch (const CaptureError& caught) {
            error = caught.what();
        }
    });
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "a library speaks for itself";
    EXPECT_EQ(error, "ip rule add: Operation not permitted");
    EXPECT_EQ(host_state(lab.gateway()), before);
}

}  // namespace
}  // namespace sluice::datapath
