// What `sluice doctor` looks for, each made on purpose in a real gateway: it is found, and the command that
// it prints mends it.
#include "userspace/datapath/host_check.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/lab.h"
#include "tests/support/process.h"
#include "tests/support/socket_address.h"
#include "tests/support/tcp_server.h"
#include "tests/support/tcp_socket.h"

namespace sluice::datapath {
namespace {

using test::Lab;
using test::Netns;

CaptureConfig config_of(const char* interface) {
    CaptureConfig config;
    config.interfaces = {interface};
    return config;
}

// The findings that are not ok, but for those that are the test machine's own.
std::vector<Finding> ailments(const Netns& netns, const CaptureConfig& config) {
    std::vector<Finding> findings = netns.run([&] { return check_host(config); });
    std::erase_if(findings, [](const Finding& finding) {
        return finding.severity == Severity::ok || finding.what.find("/sys/fs/bpf") != std::string::npos ||
               finding.what.find("open files") != std::string::npos;
    });
    return findings;
}

std::string text_of(const std::vector<Finding>& findings) {
    std::string text;
    for (const Finding& finding : findings) {
        text += std::string(to_string(finding.severity)) + " " + finding.what + "\n  " + finding.fix + "\n";
    }
    return text;
}

void shell(const Netns& netns, const std::string& command) {
    const test::Finished finished = test::run_process({"sh", "-c", command}, {.netns = &netns});
    ASSERT_EQ(finished.exit_code, 0) << command << ": " << finished.err;
}

// `spoil` makes exactly one finding, which contains `what`; its fix makes it go.
void expect_found_and_mended(const Netns& netns, const CaptureConfig& config, const std::string& spoil,
                             Severity severity, const std::string& what) {
    SCOPED_TRACE(spoil);
    ASSERT_EQ(text_of(ailments(netns, config)), "");
    shell(netns, spoil);
    const std::vector<Finding> found = ailments(netns, config);
    ASSERT_EQ(found.size(), 1u) << text_of(found);
    EXPECT_EQ(found[0].severity, severity);
    EXPECT_NE(found[0].what.find(what), std::string::npos) << found[0].what;
    shell(netns, found[0].fix);
    EXPECT_EQ(text_of(ailments(netns, config)), "");
}

TEST(HostCheck, HasNothingToSayOnAHostThatWorks) {
    const Lab lab;
    EXPECT_EQ(text_of(ailments(lab.gateway(), config_of("lan0"))), "");
    lab.gateway().run([] { install_capture(config_of("lan0")); });
    EXPECT_EQ(text_of(ailments(lab.gateway(), config_of("lan0"))), "") << "its own rules disturb it";
}

TEST(HostCheck, PrintsCommandsThatMendSettings) {
    const Lab lab;
    const auto expect = [&](const std::string& key, const char* value, Severity severity,
                            const std::string& what) {
        expect_found_and_mended(lab.gateway(), config_of("lan0"), "sysctl -w " + key + "=" + value, severity,
                                what);
    };
    expect("net.ipv4.ip_forward", "0", Severity::warning, "IPv4 is not forwarded");
    expect("net.ipv6.conf.all.forwarding", "0", Severity::warning, "IPv6 is not forwarded");
    expect("net.ipv4.conf.all.src_valid_mark", "1", Severity::problem, "martians");
    expect("net.ipv4.conf.wan0.src_valid_mark", "1", Severity::problem, "martians");
    expect("net.ipv4.tcp_fwmark_accept", "1", Severity::problem, "carry the mark");
    expect("net.ipv4.fwmark_reflect", "1", Severity::problem, "carry the mark");
}

TEST(HostCheck, MindsStrictReversePathOnlyWithSeveralUplinks) {
    const Lab lab;
    const Netns& gateway = lab.gateway();
    shell(gateway, "sysctl -w net.ipv4.conf.wan0.rp_filter=1 net.ipv4.conf.lan0.rp_filter=1");
    gateway.ip("route add default via 10.10.2.2\n");
    EXPECT_EQ(text_of(ailments(gateway, config_of("lan0"))), "");
    gateway.ip(
        "link add wan1 type veth peer name peer1\nlink set peer1 up\naddress add 192.0.2.1/24 dev wan1\nlink "
        "set wan1 up\n");
    expect_found_and_mended(gateway, config_of("lan0"), "ip route add default via 192.0.2.2 metric 100",
                            Severity::warning, "several uplinks");
}

TEST(HostCheck, NamesRoutingRulesInTheWay) {
    const Lab lab;
    const auto expect = [&](const std::string& rule, Severity severity, const std::string& what) {
        lab.gateway().ip("rule add " + rule + "\n");
        const std::vector<Finding> found = ailments(lab.gateway(), config_of("lan0"));
        ASSERT_EQ(found.size(), 1u) << text_of(found);
        EXPECT_EQ(found[0].severity, severity) << rule;
        EXPECT_NE(found[0].what.find(what), std::string::npos) << found[0].what;
        lab.gateway().ip("rule del " + rule + "\n");
    };
    expect("fwmark 0x1/0x1 lookup 15001 priority 20000", Severity::problem, "ip rule 20000");
    expect("fwmark 0x30000000/0x30000000 lookup 100 priority 20000", Severity::problem, "mark bit");
    expect("from 10.10.1.0/24 lookup 100 priority 1000", Severity::warning,
           "ip rule 1000 (lookup 100) comes before");
    lab.gateway().ip("rule add fwmark 0x1 lookup 100 priority 1000\nrule add lookup 100 priority 20000\n");
    EXPECT_EQ(text_of(ailments(lab.gateway(), config_of("lan0"))), "");
}

TEST(HostCheck, KnowsAFirewallThatWouldDropCapturedPackets) {
    const Lab lab;
    const auto drop_by = [](const char* policy, const char* last) {
        return std::string("nft 'table inet fw { chain in { type filter hook input priority 0; policy ") +
               policy + "; ct state established accept; " + last + " }; }'";
    };
    expect_found_and_mended(lab.gateway(), config_of("lan0"), drop_by("drop", ""), Severity::problem,
                            "table inet fw, chain in");
    shell(lab.gateway(), "nft delete table inet fw");
    expect_found_and_mended(lab.gateway(), config_of("lan0"), drop_by("accept", "counter reject;"),
                            Severity::problem, "table inet fw, chain in");
    shell(lab.gateway(), "nft delete table inet fw");
    shell(lab.gateway(), drop_by("accept", "tcp dport 22 drop;"));
    EXPECT_EQ(text_of(ailments(lab.gateway(), config_of("lan0"))), "");
}

TEST(HostCheck, NamesAnotherTransparentProxy) {
    const Lab lab;
    shell(lab.gateway(),
          "nft 'table ip squid { chain pre { type filter hook prerouting priority mangle; tcp dport 80 "
          "tproxy to "
          ":3129 meta mark set 1; }; }'");
    const std::vector<Finding> found = ailments(lab.gateway(), config_of("lan0"));
    ASSERT_EQ(found.size(), 1u) << text_of(found);
    EXPECT_NE(found[0].what.find("table ip squid, chain pre has TPROXY rules"), std::string::npos);
}

TEST(HostCheck, NamesInterfacesThatAreMissingOrDown) {
    const Lab lab;
    const std::vector<Finding> found = ailments(lab.gateway(), config_of("lan7"));
    ASSERT_EQ(found.size(), 1u) << text_of(found);
    EXPECT_EQ(found[0].what, "interface lan7 does not exist (yet)");
    expect_found_and_mended(lab.gateway(), config_of("lan0"), "ip link set lan0 down", Severity::warning,
                            "interface lan0 is down");
    expect_found_and_mended(lab.gateway(), config_of("lan0"), "ip link set lo down", Severity::problem,
                            "interface lo is down");
}

TEST(HostCheck, TellsTheAgentFromAStrangerOnItsPort) {
    const Lab lab;
    const test::TcpServer stranger(lab.gateway(), 15001, test::TcpServer::echo);
    const std::vector<Finding> found = ailments(lab.gateway(), config_of("lan0"));
    ASSERT_EQ(found.size(), 1u) << text_of(found);
    EXPECT_EQ(found[0].what, "another program listens on port 15001");
    lab.gateway().run([] { install_capture(config_of("lan0")); });
    EXPECT_EQ(text_of(ailments(lab.gateway(), config_of("lan0"))), "");
}

// ---- the settings above do break the capture: a check that guards against nothing would be noise

bool captures(const Lab& lab, const char* interface) {
    const CaptureConfig config = config_of(interface);
    lab.gateway().run([&] { install_capture(config); });
    const int listener = lab.gateway().run([] {
        const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const int on = 1;
        ::setsockopt(descriptor, SOL_IP, IP_TRANSPARENT, &on, sizeof on);
        ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        test::SocketAddress address(test::endpoint("127.0.0.1:15001"));
        EXPECT_EQ(::bind(descriptor, address.data(), address.size), 0);
        EXPECT_EQ(::listen(descriptor, 16), 0);
        return descriptor;
    });
    const int error = test::errno_of([&] {
        test::TcpSocket::connect(lab.client(), Lab::server_v4(443), {.deadline = test::milliseconds(400)});
    });
    ::close(listener);
    lab.gateway().run([&] { remove_capture(config); });
    return error == 0;
}

TEST(HostCheck, WarnsOfSettingsThatReallyBreakTheCapture) {
    const Lab lab;
    ASSERT_TRUE(captures(lab, "lan0"));
    for (const std::string key : {"net.ipv4.conf.all.src_valid_mark", "net.ipv4.tcp_fwmark_accept"}) {
        shell(lab.gateway(), "sysctl -w " + key + "=1");
        EXPECT_FALSE(captures(lab, "lan0")) << key;
        shell(lab.gateway(), "sysctl -w " + key + "=0");
    }
    shell(lab.gateway(),
          "nft 'table inet fw { chain in { type filter hook input priority 0; policy drop; }; }'");
    EXPECT_FALSE(captures(lab, "lan0"));
}

TEST(HostCheck, WarnsOfBridgesWhoseFramesGoThroughTheRules) {
    const Lab lab;
    const Netns& gateway = lab.gateway();
    gateway.ip(
        "link add br0 type bridge\nlink set lan0 master br0\naddress flush dev lan0\n"
        "address add 10.10.1.1/24 dev br0\nlink set br0 up\n");
    shell(gateway, "sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0");
    EXPECT_TRUE(captures(lab, "br0"));
    shell(gateway, "sysctl -w net.bridge.bridge-nf-call-iptables=1");
    EXPECT_FALSE(captures(lab, "br0"));
    shell(gateway, "sysctl -w net.bridge.bridge-nf-call-iptables=0");
    for (const char* name : {"br0", "lan0"}) {
        expect_found_and_mended(gateway, config_of(name), "sysctl -w net.bridge.bridge-nf-call-iptables=1",
                                Severity::problem, "part of a bridge");
    }
}

}  // namespace
}  // namespace sluice::datapath
