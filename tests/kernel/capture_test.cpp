// The capture rules on a real kernel: packets of real clients, routed by a real gateway.
#include "tests/kernel/capture_lab.h"

namespace sluice::datapath {
namespace {

// ---- what is captured

TEST(Capture, AcceptsTheClientOnTheAddressThatItDialled) {
    const Lab lab;
    const Installed rules(lab.gateway(), config_of_lan());
    for (const bool v6 : {false, true}) {
        const Listener agent(lab.gateway(), v6);
        const policy::Endpoint dialled = v6 ? Lab::server_v6(443) : Lab::server_v4(443);
        TcpSocket client = TcpSocket::connect(lab.client(), dialled);
        TcpSocket downstream = agent.accept();
        EXPECT_EQ(downstream.local().to_string(), dialled.to_string());
        EXPECT_EQ(downstream.peer().to_string(), client.local().to_string());
        client.send("hello");
        EXPECT_EQ(downstream.receive_exactly(5), "hello");
    }
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
}

TEST(Capture, SpreadsConnectionsOverTheListenersOfAllWorkers) {
    const Lab lab;
    const Installed rules(lab.gateway(), config_of_lan());
    const Listener first(lab.gateway());
    const Listener second(lab.gateway());
    std::vector<TcpSocket> clients;  // by chance all on one side: 2 in 2^40
    for (int i = 0; i < 40; ++i)
        clients.push_back(TcpSocket::connect(lab.client(), Lab::server_v4(443)));
    EXPECT_TRUE(first.waiting(0ms));
    EXPECT_TRUE(second.waiting(0ms));
}

TEST(Capture, LeavesOtherPortsToTheRouter) {
    const Lab lab;
    CaptureConfig config = config_of_lan();
    config.ports = {{80, 80}, {443, 443}, {440, 450}};  // overlapping ranges are no error
    const Installed rules(lab.gateway(), config);
    const Listener agent(lab.gateway());
    const TcpServer server(lab.server(), 8080, TcpServer::echo);
    EXPECT_EQ(connect_errno(lab, Lab::server_v4(8080)), 0);
    EXPECT_FALSE(agent.waiting(0ms));
    EXPECT_EQ(connect_errno(lab, Lab::server_v4(445)), 0);
    EXPECT_TRUE(agent.waiting());
}

TEST(Capture, LeavesExcludedFlowsToTheRouter) {
    const Lab lab;
    const Listener agent(lab.gateway());
    const Listener agent_v6(lab.gateway(), true);
    const TcpServer server(lab.server(), 443, TcpServer::echo);
    std::vector<CaptureConfig> configs(3, config_of_lan());
    configs[0].exclude_ports = ports(443);
    configs[1].exclude_sources = {prefix("10.10.1.2")[0], prefix("fd00:1::/64")[0]};
    configs[2].exclude_destinations = {prefix("10.10.2.0/24")[0], prefix("10.10.2.2")[0],
                                       prefix("fd00:2::2")[0]};
    for (const CaptureConfig& config : configs) {
        const Installed rules(lab.gateway(), config);
        EXPECT_EQ(connect_errno(lab, Lab::server_v4(443)), 0);
        EXPECT_EQ(connect_errno(lab, Lab::server_v6(443)), 0);
        EXPECT_NE(send_datagram(lab, Lab::server_v4(443), "is QUIC, but excluded"), ECONNREFUSED);
    }
    EXPECT_TRUE(wait_until([&] { return server.accepted() == 6; }));
    EXPECT_FALSE(agent.waiting(0ms) || agent_v6.waiting(0ms));
}

TEST(Capture, LeavesTheGatewaysOwnServicesAlone) {
    const Lab lab;
    const Installed rules(lab.gateway(), config_of_lan());
    const Listener agent(lab.gateway());
    const TcpServer service(lab.gateway(), 443, TcpServer::echo);
    for (const char* own : {"10.10.1.1:443", "10.10.2.1:443", "[fd00:1::1]:443"}) {
        EXPECT_EQ(connect_errno(lab, endpoint(own)), 0) << own;
    }
    EXPECT_TRUE(wait_until([&] { return service.accepted() == 3; }));
    EXPECT_EQ(connect_errno(lab, endpoint("10.10.1.1:15001")), ECONNREFUSED)
        << "the agent's port is open to all";
}

TEST(Capture, LetsOthersConnectToHostsBehindTheInterface) {
    const Lab lab;
    const Installed rules(lab.gateway(), config_of_lan());
    const Listener agent(lab.gateway());
    const TcpServer inside(lab.client(), 22, TcpServer::echo);
    for (const char* address : {"10.10.1.2:22", "[fd00:1::2]:22"}) {
        TcpSocket outside = TcpSocket::connect(lab.server(), endpoint(address));
        outside.send("ping");
        EXPECT_EQ(outside.receive_exactly(4), "ping");
    }
    EXPECT_FALSE(agent.waiting(0ms));
}

TEST(Capture, ResetsFlowsThatBeganBeforeIt) {
    const Lab lab;
    const TcpServer server(lab.server(), 443, TcpServer::echo);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
    client.send("1");
    EXPECT_EQ(client.receive_exactly(1), "1");
    const Listener agent(lab.gateway());
    const Installed rules(lab.gateway(), config_of_lan());
    client.send("2");
    EXPECT_EQ(client.receive_to_end().end, test::StreamEnd::reset);
}

TEST(Capture, KeepsTheOtherBitsOfTheMark) {
    const Lab lab;
    nft(lab.gateway(),
        "table inet other { chain before { type filter hook prerouting priority raw; meta mark set 0x5; }; "
        "chain seen { type filter hook input priority 0; tcp dport 443 meta mark 0x10000005 counter name "
        "kept; }; "
        "counter kept { }; }");
    const Installed rules(lab.gateway(), config_of_lan());
    const Listener agent(lab.gateway());
    lab.gateway().ip(
        "rule add fwmark 0x10000005 unreachable priority 20000\n");  // ours goes by one bit, and first
    EXPECT_EQ(connect_errno(lab, Lab::server_v4(443)), 0);
    EXPECT_EQ(output(lab.gateway(), {"nft", "list", "counters"}).find("packets 0"), std::string::npos);
}

// ---- the upstream leg

TEST(Capture, BringsTheServersAnswersToASocketWithTheClientsAddress) {
    const Lab lab;
    const Installed rules(lab.gateway(), config_of_lan());
    for (const bool v6 : {false, true}) {
        const Listener agent(lab.gateway(), v6);
        const TcpServer server(lab.server(), 443, TcpServer::echo);
        TcpSocket client = TcpSocket::connect(lab.client(), v6 ? Lab::server_v6(443) : Lab::server_v4(443));
        TcpSocket downstream = agent.accept();
        TcpSocket upstream = connect_upstream(lab.gateway(), downstream.peer(), downstream.local());
        EXPECT_TRUE(wait_until([&] { return server.accepted() == 1; }));
        EXPECT_EQ(server.peers().at(0).to_string(), client.local().to_string());
        upstream.send("to the server");
        EXPECT_EQ(upstream.receive_exactly(13), "to the server");
        downstream.send("to the client");
        EXPECT_EQ(client.receive_exactly(13), "to the client");
    }
}

TEST(Capture, TellsAnUpstreamSocketWithTheClientsAddressWhatIcmpSays) {
    const Lab lab;
    nft(lab.server(),
        "table inet refuse { chain input { type filter hook input priority 0; "
        "tcp dport 443 reject with icmpx port-unreachable; }; }");
    const Installed rules(lab.gateway(), config_of_lan());
    for (const auto& [from, to] : {std::pair("10.10.1.2:5555", Lab::server_v4(443)),
                                   std::pair("[fd00:1::2]:5555", Lab::server_v6(443))}) {
        EXPECT_EQ(test::errno_of([&] { connect_upstream(lab.gateway(), endpoint(from), to); }), ECONNREFUSED)
            << from;
    }
}

// ---- while no agent runs

TEST(Capture, FailsClosedWhileNoAgentListens) {
    const Lab lab;
    const TcpServer server(lab.server(), 443, TcpServer::echo);
    const Installed rules(lab.gateway(), config_of_lan());
    EXPECT_NE(connect_errno(lab, Lab::server_v4(443), never), 0);
    EXPECT_NE(connect_errno(lab, Lab::server_v6(443), never), 0);
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
}

TEST(Capture, FailsClosedWhenSomebodyFlushesTheRoutingRules) {
    const Lab lab;
    const TcpServer server(lab.server(), 443, TcpServer::echo);
    const Installed rules(lab.gateway(), config_of_lan());
    const Listener agent(lab.gateway());
    lab.gateway().ip("rule del priority 15001\n");
    EXPECT_NE(connect_errno(lab, Lab::server_v4(443), never), 0);
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
}

TEST(Capture, FailsOpenWhenTheOperatorSaysSo) {
    const Lab lab;
    const TcpServer server(lab.server(), 443, TcpServer::echo);
    CaptureConfig config = config_of_lan();
    config.fail_open = true;
    const Installed rules(lab.gateway(), config);
    EXPECT_EQ(connect_errno(lab, Lab::server_v4(443)), 0);
    EXPECT_EQ(connect_errno(lab, Lab::server_v6(443)), 0);
    EXPECT_TRUE(wait_until([&] { return server.accepted() == 2; }));
}

// ---- QUIC

const std::string quic_initial("\xc3\x00\x00\x00\x01\x08", 6);

TEST(Capture, RefusesQuicAtOnceAndLetsOtherDatagramsPass) {
    const Lab lab;
    const Installed rules(lab.gateway(), config_of_lan());
    EXPECT_EQ(send_datagram(lab, Lab::server_v4(443), "anything"), ECONNREFUSED);
    EXPECT_EQ(send_datagram(lab, Lab::server_v6(443), "anything"), ECONNREFUSED);
    EXPECT_EQ(send_datagram(lab, Lab::server_v4(8443), quic_initial), ECONNREFUSED);
    EXPECT_EQ(send_datagram(lab, Lab::server_v6(8443), quic_initial), ECONNREFUSED);
    EXPECT_EQ(send_datagram(lab, Lab::server_v4(53), std::string("\xc3\x00\x01\x00\x00\x01", 6)), 0);
}

TEST(Capture, RefusesQuicOnlyWhereTcpIsCaptured) {
    const Lab lab;
    CaptureConfig config = config_of_lan();
    config.ports = ports(8443);
    const Installed rules(lab.gateway(), config);
    EXPECT_EQ(send_datagram(lab, Lab::server_v4(443), quic_initial), 0);
    EXPECT_EQ(send_datagram(lab, Lab::server_v4(8443), quic_initial), ECONNREFUSED);
}

TEST(Capture, LetsQuicPassWhenTheOperatorSaysSo) {
    const Lab lab;
    CaptureConfig config = config_of_lan();
    config.quic_reject = false;
    const Installed rules(lab.gateway(), config);
    EXPECT_EQ(send_datagram(lab, Lab::server_v4(443), quic_initial), 0);
}

}  // namespace
}  // namespace sluice::datapath
