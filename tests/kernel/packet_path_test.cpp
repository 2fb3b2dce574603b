// The ways that a spliced flow's packets take: path MTU, hops, errors of routers, interfaces of other kinds.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <string_view>
#include <thread>

#include "tests/kernel/packet_exchange.h"
#include "tests/kernel/packet_segment.h"
#include "tests/support/packet_counter.h"
#include "tests/support/process.h"
#include "userspace/datapath/fd.h"

namespace sluice::test {
namespace {

constexpr std::string_view gateway_address("\x02\0\0\0\0\x01", 6);

// From the client's interface to `gateway_address`.
void send_frame(const PacketLab& lab, std::string frame) {
    frame.replace(0, gateway_address.size(), gateway_address);
    lab.lab().client().run([&] {
        const datapath::Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
        sockaddr_ll to{};
        to.sll_family = AF_PACKET;
        to.sll_ifindex = static_cast<int>(if_nametoindex("eth0"));
        EXPECT_EQ(::sendto(socket.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to),
                           sizeof to),
                  static_cast<ssize_t>(frame.size()));
    });
}

// With addresses of the gateway's own upstream.
LabFlow readdressed(LabFlow flow) {
    flow.source = flow.client.address.is_v4() ? endpoint("10.10.2.1:50123") : endpoint("[fd00:2::1]:50123");
    return flow;
}

std::vector<LabFlow> four_flows() {
    return {LabFlow{}, flow_v6(), readdressed(LabFlow{}), readdressed(flow_v6())};
}

// The link behind the gateway shrinks in the middle of the stream. Nobody may be left waiting for a packet
// that does not fit.
TEST(PacketPath, TheMtuOfTheWayOutDropsInMidFlow) {
    for (const LabFlow& flow : four_flows()) {
        PacketLab lab;
        const PacketCounter too_big_v4(lab.lab().client(), "icmp type destination-unreachable");
        const PacketCounter too_big_v6(lab.lab().client(), "icmpv6 type packet-too-big");
        ASSERT_TRUE(lab.insert(flow));
        exchange(flow, megabyte, 1000, lab.lab().client(), lab.lab().server(),
                 [&] { lab.lab().gateway().ip("link set wan0 mtu 1300\n"); });
        EXPECT_GE(too_big_v4.packets() + too_big_v6.packets(), 1u);
    }
}

// Behind the server's namespace, which is a router here, lies another one, by a link that shrinks. Its errors
// quote the packets of the upstream leg.
TEST(PacketPath, TheMtuOfALinkFurtherOnDropsInMidFlow) {
    for (LabFlow flow : four_flows()) {
        PacketLab lab;
        const Netns far("far");
        lab.lab().server().ip("link add far0 type veth peer name eth0 netns " + far.name() +
                              "\naddress add 10.10.9.1/24 dev far0\naddress add fd00:9::1/64 dev far0 nodad\n"
                              "link set far0 up\n");
        far.ip(
            "address add 10.10.9.2/24 dev eth0\naddress add fd00:9::2/64 dev eth0 nodad\nlink set eth0 up\n"
            "route add default via 10.10.9.1\nroute add default via fd00:9::1\n");
        far.sysctl("net/ipv4/tcp_timestamps", "2");
        lab.lab().server().sysctl("net/ipv4/ip_forward", "1");
        lab.lab().server().sysctl("net/ipv6/conf/all/forwarding", "1");
        lab.lab().gateway().ip("route add 10.10.9.0/24 via 10.10.2.2\nroute add fd00:9::/64 via fd00:2::2\n");
        flow.dialled = flow.server =
            flow.client.address.is_v4() ? endpoint("10.10.9.2:443") : endpoint("[fd00:9::2]:443");
        ASSERT_TRUE(lab.insert(flow));
        exchange(flow, megabyte, 1000, lab.lab().client(), far,
                 [&] { lab.lab().server().ip("link set far0 mtu 1300\n"); });
    }
}

TEST(PacketPath, APortThatIsClosedIsHeardOfAcrossTheGateway) {
    PacketLab lab;
    const PacketCounter unreachable(lab.lab().client(), "icmp type destination-unreachable");
    const LabFlow flow = readdressed(LabFlow{});
    ASSERT_TRUE(lab.insert(flow));
    run_process(
        {"nft", "-f", "-"},
        {.netns = &lab.lab().server(),
         .input = "table inet no { chain in { type filter hook input priority 0; tcp dport 443 reject "
                  "with icmpx type admin-prohibited; }; }\n"});
    EXPECT_NE(errno_of([&] {
                  TcpSocket::connect(lab.lab().client(), flow.dialled,
                                     {.source = flow.client, .deadline = 2s});
              }),
              0);
    EXPECT_GE(unreachable.packets(), 1u);
}

TEST(PacketPath, APacketWithoutHopsLeftIsAnsweredAndNotForwarded) {
    for (const LabFlow& flow : {LabFlow{}, flow_v6()}) {
        PacketLab lab;
        const bool v4 = flow.client.address.is_v4();
        const PacketCounter over(lab.lab().client(),
                                 v4 ? "icmp type time-exceeded" : "icmpv6 type time-exceeded");
        ASSERT_TRUE(lab.insert(flow));
        lab.lab().client().sysctl(v4 ? "net/ipv4/ip_default_ttl" : "net/ipv6/conf/eth0/hop_limit", "1");
        EXPECT_NE(errno_of([&] {
                      TcpSocket::connect(lab.lab().client(), flow.dialled,
                                         {.source = flow.client, .deadline = 1s});
                  }),
                  0);
        EXPECT_GE(over.packets(), 1u);
        EXPECT_EQ(lab.lab().server().tcp_segments_received(), 0u);
    }
}

TEST(PacketPath, EachPacketIsAHopOlder) {
    PacketLab lab;
    const PacketCounter aged(lab.lab().server(), "tcp dport 443 ip ttl 63");
    const PacketCounter all(lab.lab().server(), "tcp dport 443");
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    exchange(lab, flow, 1000);
    EXPECT_EQ(aged.packets(), all.packets());
    EXPECT_GT(aged.packets(), 0u);
}

// The old neighbour is gone. Nothing is lost for good while the flow does not know yet.
TEST(PacketPath, AnotherNextHopIsFollowedInMidFlow) {
    for (LabFlow flow : {LabFlow{}, flow_v6()}) {
        const bool v4 = flow.client.address.is_v4();
        PacketLab lab;
        lab.lab().server().ip(
            "link set eth0 address 02:00:00:00:00:01\naddress add 10.10.9.2/32 dev lo\n"
            "address add fd00:9::2/128 dev lo\n");
        const std::string old_hop = v4 ? "10.10.2.2" : "fd00:2::2";
        const std::string new_hop = v4 ? "10.10.2.3" : "fd00:2::3";
        const std::string server = v4 ? "10.10.9.2" : "fd00:9::2";
        const auto neighbour = [&](const std::string& hop, const char* address) {
            lab.lab().gateway().ip("neighbour replace " + hop + " lladdr " + address + " dev wan0\n");
        };
        neighbour(old_hop, "02:00:00:00:00:01");
        neighbour(new_hop, "02:00:00:00:00:01");
        lab.lab().gateway().ip("route add " + server + " via " + old_hop + "\n");
        flow.dialled = flow.server = v4 ? endpoint("10.10.9.2:443") : endpoint("[fd00:9::2]:443");
        ASSERT_TRUE(lab.insert(flow));
        exchange(lab, flow, megabyte, [&] {
            lab.lab().gateway().ip("route replace " + server + " via " + new_hop + "\n");
            neighbour(old_hop, "02:00:00:00:00:99");
        });
    }
}

// An uplink fails, and there is another one.
TEST(PacketPath, AnotherInterfaceIsFollowedWhenTheOldOneHasNoRoute) {
    for (LabFlow flow : {LabFlow{}, flow_v6()}) {
        const bool v4 = flow.client.address.is_v4();
        PacketLab lab;
        lab.lab().gateway().ip(
            "link add wan1 type veth peer name eth1 netns " + lab.lab().server().name() +
            "\naddress add 10.10.3.1/24 dev wan1\naddress add fd00:3::1/64 dev wan1 nodad\n"
            "link set wan1 up\n");
        lab.lab().server().ip(
            "address add 10.10.3.2/24 dev eth1\naddress add fd00:3::2/64 dev eth1 nodad\nlink set eth1 up\n"
            "address add 10.10.9.2/32 dev lo\naddress add fd00:9::2/128 dev lo\n");
        lab.lab().gateway().run([&] { lab.splice().attach_new(); });
        const std::string route = v4 ? "10.10.9.2" : "fd00:9::2";
        lab.lab().gateway().ip("route add " + route + " via " + (v4 ? "10.10.2.2" : "fd00:2::2") + "\n");
        flow.dialled = flow.server = v4 ? endpoint("10.10.9.2:443") : endpoint("[fd00:9::2]:443");
        ASSERT_TRUE(lab.insert(flow));
        exchange(lab, flow, megabyte, [&] {
            lab.lab().gateway().ip("route replace " + route + " via " + (v4 ? "10.10.3.2" : "fd00:3::2") +
                                   "\n");
            lab.lab().server().ip("route replace default via " + std::string(v4 ? "10.10.3.1" : "fd00:3::1") +
                                  "\n");
            lab.lab().gateway().ip("link set wan0 down\n");
        });
        EXPECT_EQ(lab.route(lab.up(flow).arrives).ifindex, lab.ifindex("wan1"));
    }
}

// In and out by the same interface: the client's and the server's sockets are in one namespace here, and know
// each other by the gateway's addresses only.
TEST(PacketPath, AGatewayWithOneArm) {
    PacketLab lab;
    LabFlow flow;
    flow.dialled = endpoint("198.51.100.7:8443");
    flow.source = endpoint("10.10.1.1:50123");
    flow.server = endpoint("10.10.1.2:443");
    flow.wan = "lan0";
    ASSERT_TRUE(lab.insert(flow));
    exchange(flow, 10 * megabyte, 10 * megabyte, lab.lab().client(), lab.lab().client());
}

TEST(PacketPath, ABridgeIsAnInterfaceLikeOthersAndItsPortsAreLeftAlone) {
    PacketLab lab;
    lab.lab().gateway().ip(
        "link add br0 type bridge\nlink set lan0 master br0\naddress flush dev lan0\n"
        "address add 10.10.1.1/24 dev br0\nlink set br0 up\n");
    lab.lab().gateway().run([&] { lab.splice().attach_new(); });
    LabFlow flow;
    flow.lan = "br0";
    ASSERT_TRUE(lab.insert(flow));
    exchange(lab, flow, 10 * megabyte);
}

// Where the kernel has VLANs, their interfaces are like others; a tagged frame on the interface below is not
// ours.
TEST(PacketPath, VlansAreInterfacesAndTagsBelowThemAreLeftAlone) {
    PacketLab lab;
    lab.lab().gateway().ip("link set lan0 address 02:00:00:00:00:01\n");
    if (run_process({"ip", "link", "add", "link", "lan0", "name", "vlan7", "type", "vlan", "id", "7"},
                    {.netns = &lab.lab().gateway()})
            .exit_code == 0) {
        lab.lab().gateway().ip(
            "address add 10.10.7.1/24 dev vlan7\naddress add fd00:7::1/64 dev vlan7 nodad\nlink set vlan7 "
            "up\n");
        lab.lab().client().ip(
            "link add link eth0 name vlan7 type vlan id 7\naddress add 10.10.7.2/24 dev vlan7\n"
            "address add fd00:7::2/64 dev vlan7 nodad\nlink set vlan7 up\n"
            "route replace default via 10.10.7.1\nroute replace default via fd00:7::1\n");
        lab.lab().gateway().run([&] { lab.splice().attach_new(); });
        for (LabFlow flow : {LabFlow{}, flow_v6()}) {
            flow.client = flow.source =
                flow.client.address.is_v4() ? endpoint("10.10.7.2:40000") : endpoint("[fd00:7::2]:40000");
            flow.lan = "vlan7";
            ASSERT_TRUE(lab.insert(flow));
            exchange(lab, flow, 2 * megabyte);
        }
    }

    LabFlow untagged;
    untagged.id = 9;
    ASSERT_TRUE(lab.insert(untagged));
    const PacketCounter arrived(lab.lab().server(), "tcp dport 443 tcp flags & syn == 0 ip saddr 10.10.1.2",
                                "prerouting");
    Segment segment;
    segment.tuple = lab.up(untagged).arrives;
    const std::string plain = frame_of(segment);
    const std::string tagged = plain.substr(0, 12) + std::string("\x81\x00\x00\x09", 4) + plain.substr(12);
    send_frame(lab, tagged);
    EXPECT_EQ(lab.route(segment.tuple).packets, 0u);
    send_frame(lab, plain);
    EXPECT_TRUE(wait_until([&] { return arrived.packets() == 1; }));
    EXPECT_EQ(lab.route(segment.tuple).packets, 1u);
}

datapath::Fd open_tun(const Netns& netns, const std::string& name) {
    return netns.run([&] {
        datapath::Fd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
        ifreq request{};
        request.ifr_flags = IFF_TUN | IFF_NO_PI;
        std::memcpy(request.ifr_name, name.c_str(), name.size());
        EXPECT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0);
        return fd;
    });
}

// Carries packets between two tun devices until it is stopped.
void pump(const std::stop_token& stop, int one, int other) {
    std::array<char, 65536> packet;
    const auto carry = [&](int from, int to) {
        for (ssize_t bytes = 0; (bytes = ::read(from, packet.data(), packet.size())) > 0;)
            static_cast<void>(::write(to, packet.data(), static_cast<std::size_t>(bytes)));
    };
    while (!stop.stop_requested()) {
        std::array<pollfd, 2> ready{pollfd{one, POLLIN, 0}, pollfd{other, POLLIN, 0}};
        ::poll(ready.data(), ready.size(), 20);
        carry(one, other);
        carry(other, one);
    }
}

// The client's link, or the server's, has no Ethernet header.
TEST(PacketPath, InterfacesWithoutALinkHeader) {
    PacketLab lab;
    const datapath::Fd client_end = open_tun(lab.lab().client(), "tun0");
    const datapath::Fd gateway_end = open_tun(lab.lab().gateway(), "tun0");
    lab.lab().client().ip(
        "address add 10.10.5.2/24 dev tun0\naddress add fd00:5::2/64 dev tun0 nodad\n"
        "link set tun0 up\nroute add 198.51.100.0/24 via 10.10.5.1\n"
        "route add 2001:db8::/32 via fd00:5::1\n");
    lab.lab().gateway().ip(
        "address add 10.10.5.1/24 dev tun0\naddress add fd00:5::1/64 dev tun0 nodad\n"
        "link set tun0 up\n");
    lab.lab().gateway().run([&] { lab.splice().attach_new(); });
    const std::jthread cable(
        [&](const std::stop_token& stop) { pump(stop, client_end.get(), gateway_end.get()); });

    LabFlow from_tun;
    from_tun.client = from_tun.source = endpoint("10.10.5.2:40000");
    from_tun.dialled = endpoint("198.51.100.7:443");
    from_tun.lan = "tun0";
    lab.lab().server().ip("route add 10.10.5.0/24 via 10.10.2.1\n");
    ASSERT_TRUE(lab.insert(from_tun));
    exchange(lab, from_tun, megabyte);

    LabFlow from_tun6;
    from_tun6.id = 2;
    from_tun6.client = from_tun6.source = endpoint("[fd00:5::2]:40000");
    from_tun6.dialled = endpoint("[2001:db8::7]:443");
    from_tun6.server = endpoint("[fd00:2::2]:443");
    from_tun6.lan = "tun0";
    ASSERT_TRUE(lab.insert(from_tun6));
    exchange(lab, from_tun6, megabyte);

    LabFlow to_tun;  // the server is where the client was
    to_tun.id = 3;
    to_tun.client = endpoint("10.10.2.2:40000");
    to_tun.dialled = endpoint("198.51.100.8:443");
    to_tun.source = endpoint("10.10.5.1:50123");
    to_tun.server = endpoint("10.10.5.2:444");
    to_tun.lan = "wan0";
    to_tun.wan = "tun0";
    ASSERT_TRUE(lab.insert(to_tun));
    exchange(to_tun, megabyte, megabyte, lab.lab().server(), lab.lab().client());
}

}  // namespace
}  // namespace sluice::test
