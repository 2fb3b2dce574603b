#pragma once
// Capture: the nftables rules and the routing that bring other hosts' TCP to the agent's listener, unchanged (TPROXY).
// Installed as one nftables transaction (table `inet sluice`) plus, per address family, one `ip rule` on the mark and
// one local default route in a routing table of our own; removed exactly. Nothing else on the host is touched.
//
// While no agent runs the tproxy rule finds no socket and does not match: the kernel would forward the packet
// unfiltered. So, unless `fail_open`, a forward chain drops captured traffic that gets that far.
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "policy/address.h"

namespace sluice::datapath {

struct CaptureConfig {
    bool install = true;                      // false: the operator brings his own TPROXY or REDIRECT rules
    std::vector<std::string> interfaces;      // where clients are; names as in `ip link`
    std::vector<policy::PortRange> ports;     // original destination ports; empty: all
    std::vector<policy::Cidr> exclude_sources;
    std::vector<policy::Cidr> exclude_destinations;
    std::vector<policy::PortRange> exclude_ports;
    bool quic_reject = true;   // UDP/443 (and the captured ports) of captured clients: ICMP port unreachable
    bool fail_open = false;
    std::uint16_t port = 15001;          // of the agent's listener
    std::uint32_t mark = 0x10000000;     // one bit of the packet mark, set and tested under this mask
    std::uint32_t routing_table = 15001;  // also the rule's priority
};

// The object and the cause, in one line.
struct CaptureError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The nftables script that install_capture() runs: for `sluice doctor`, for tests, for the curious.
std::string capture_ruleset(const CaptureConfig& config);

// Replaces whatever an earlier agent left; calling it twice is the same as once. Throws CaptureError, and then has
// removed what it had done.
void install_capture(const CaptureConfig& config);

// Removes table `inet sluice`, the rule and the route; nothing there is not an error.
void remove_capture(const CaptureConfig& config);

}  // namespace sluice::datapath
