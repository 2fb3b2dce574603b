#include "userspace/datapath/packet_interfaces.h"

#include <bpf/libbpf.h>
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "userspace/datapath/flow_table.h"

namespace sluice::datapath {

namespace {

// Filters of one priority are told apart by their handle. Low, as it is the way of most packets.
constexpr std::uint32_t filter_handle = 0x51ce;
constexpr std::uint32_t filter_priority = 51;

enum class Framing : std::uint8_t { ethernet, bare, loopback, other };

// What ARPHRD_... says of the head of a packet at TC. Those of GRE and sit are `other`: the kernel leaves the
// outer header in front of what it hands up.
Framing framing_of(unsigned arptype) {
    switch (arptype) {
        case ARPHRD_ETHER:
            return Framing::ethernet;
        case ARPHRD_LOOPBACK:
            return Framing::loopback;
        case ARPHRD_NONE:  // tun, WireGuard
        case ARPHRD_PPP:
        case ARPHRD_RAWIP:
        case ARPHRD_TUNNEL:   // ipip
        case ARPHRD_TUNNEL6:  // ip6tnl
            return Framing::bare;
        default:
            return Framing::other;
    }
}

struct Release {
    void operator()(nl_sock* socket) const { nl_socket_free(socket); }
    void operator()(nl_cache* cache) const { nl_cache_free(cache); }
};

template <class Function>
void for_each_link(Function&& function) {
    const std::unique_ptr<nl_sock, Release> socket(nl_socket_alloc());
    if (!socket) throw StateError("ip link: out of memory");
    if (const int error = nl_connect(socket.get(), NETLINK_ROUTE); error < 0)
        throw StateError(std::string("ip link: ") + nl_geterror(error));
    nl_cache* dump = nullptr;
    if (const int error = rtnl_link_alloc_cache(socket.get(), AF_UNSPEC, &dump); error < 0)
        throw StateError(std::string("ip link: ") + nl_geterror(error));
    const std::unique_ptr<nl_cache, Release> owner(dump);
    for (nl_object* object = nl_cache_get_first(dump); object; object = nl_cache_get_next(object))
        function(reinterpret_cast<rtnl_link*>(object));  // how libnl's own examples cast
}

bpf_tc_hook hook_of(int ifindex, bpf_tc_attach_point point) {
    bpf_tc_hook hook{};
    hook.sz = sizeof hook;
    hook.ifindex = ifindex;
    hook.attach_point = point;
    return hook;
}

int attach(int ifindex, bpf_tc_attach_point point, int program) {
    bpf_tc_hook hook = hook_of(ifindex, point);
    if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST) return error;
    bpf_tc_opts options{};
    options.sz = sizeof options;
    options.prog_fd = program;
    options.flags = BPF_TC_F_REPLACE;
    options.handle = filter_handle;
    options.priority = filter_priority;
    return bpf_tc_attach(&hook, &options);
}

void detach(int ifindex, bpf_tc_attach_point point) {
    const bpf_tc_hook hook = hook_of(ifindex, point);
    bpf_tc_opts options{};
    options.sz = sizeof options;
    options.handle = filter_handle;
    options.priority = filter_priority;
    bpf_tc_detach(&hook, &options);  // fails where there is none
}

}  // namespace

PacketInterfaces::PacketInterfaces(const PacketPrograms& programs)
    : programs_(programs),
      watch_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE)) {
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_LINK;
    if (!watch_ || ::bind(watch_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
        throw StateError(std::string("watching interfaces: ") + std::strerror(errno));
    attach_all(true);
}

void PacketInterfaces::attach_new() {
    std::array<char, 16 * 1024> messages;
    // ENOBUFS says that messages were lost; what they said does not matter, only that there were some.
    while (::recv(watch_.get(), messages.data(), messages.size(), 0) > 0 || errno == ENOBUFS) {
    }
    attach_all(false);
}

void PacketInterfaces::attach_all(bool must) {
    ++round_;
    for_each_link([&](rtnl_link* link) {
        const Framing framing = framing_of(rtnl_link_get_arptype(link));
        if (framing == Framing::other) return;
        const int ifindex = rtnl_link_get_ifindex(link);
        const auto known = attached_.find(static_cast<std::uint32_t>(ifindex));
        if (known != attached_.end()) {
            known->second = round_;
            return;
        }
        const bool ethernet = framing != Framing::bare;
        int error = attach(ifindex, BPF_TC_INGRESS, ethernet ? programs_.ethernet_in : programs_.bare_in);
        // What is injected (packet_injector.h) comes in by loopback; no leg leaves by it.
        if (error == 0 && framing != Framing::loopback)
            error = attach(ifindex, BPF_TC_EGRESS, ethernet ? programs_.ethernet_out : programs_.bare_out);
        if (error == 0) {
            attached_.emplace(static_cast<std::uint32_t>(ifindex), round_);
        } else if (must && error != -ENODEV) {
            throw StateError(std::string("attaching to ") + rtnl_link_get_name(link) + ": " +
                             std::strerror(-error));
        }
    });
    std::erase_if(attached_, [&](const auto& entry) { return entry.second != round_; });
}

void PacketInterfaces::detach_all() {
    for_each_link([](rtnl_link* link) {
        if (framing_of(rtnl_link_get_arptype(link)) == Framing::other) return;
        detach(rtnl_link_get_ifindex(link), BPF_TC_INGRESS);
        detach(rtnl_link_get_ifindex(link), BPF_TC_EGRESS);
    });
}

}  // namespace sluice::datapath
