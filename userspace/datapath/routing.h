#pragma once
// The routing of marked packets to this host's own stack, as by
//   ip [-6] rule add fwmark MARK/MARK lookup TABLE priority TABLE
//   ip [-6] route add local default dev lo table TABLE
// for IPv4, and for IPv6 unless it is switched off. All of it carries a routing protocol number of our own,
// so that the next agent finds what an earlier one left, whatever its mark and table were. Works in the
// calling thread's network namespace.
#include <cstdint>
#include <vector>

#include "policy/address.h"

namespace sluice::datapath {

// /etc/iproute2/rt_protos names none with this number; `ip rule` shows it as "proto 115".
inline constexpr std::uint8_t routing_protocol = 115;

// Throws CaptureError, also when somebody else's default route is in the table.
void install_routing(std::uint32_t mark, std::uint32_t table);

// Whether packets to this address stay on this host: an address of its own, or a local route. True also when
// the kernel cannot be asked.
bool is_routed_here(const policy::IpAddress& address);

// Removes every rule that install_routing() ever made, and the route of its table.
void remove_routing();

struct RoutingRule {
    int family = 0;  // AF_INET, AF_INET6
    std::uint32_t priority = 0;
    std::uint32_t mark = 0;
    std::uint32_t mask = 0;
    std::uint32_t table = 0;
    bool ours = false;
};

// What `ip rule` and `ip -6 rule` list.
std::vector<RoutingRule> routing_rules();

}  // namespace sluice::datapath
