#pragma once
// Capture: the nftables rules and the routing that bring other hosts' TCP to the agent's listener, unchanged
// (TPROXY). Installed as one nftables transaction (table `inet sluice`) plus, per address family, one `ip
// rule` on the mark and one local default route in a routing table of our own (routing.h); removed exactly.
// Nothing else on the host is touched, and of the packet's mark only our one bit.
//
// The agent listens on 127.0.0.1:port and [::1]:port with IP_TRANSPARENT, so nobody can reach its port from
// outside. getsockname() of an accepted socket is the address that the client dialled.
//
// What is captured from the named interfaces: every SYN to a captured port that is not excluded and not for
// the gateway itself. Connections that others open *to* hosts behind these interfaces are not ours to judge,
// so their answers pass; connection tracking is not needed, and not switched on. Later segments of captured
// flows belong to the agent's sockets and are recognised as such, on any interface, so that a gateway with
// one interface works as well. A segment of a flow that began before the capture is answered with RST, where
// it plainly comes from a client (capture.cpp): the client connects again and is judged.
//
// With `local`, connections that the gateway's own programs open to elsewhere are captured as well: their
// packets are marked where they leave (the output hook), so that routing sends them back in by `lo`, to the
// listener. The agent's own sockets are told apart by IP_TRANSPARENT, which each of them must have. Which
// later segments belong to a captured connection is kept in a set of the table, by addresses and ports.
//
// While no agent listens, the tproxy rule finds no socket and does not match: the kernel would forward the
// packet unfiltered. So, unless `fail_open`, the rule after it drops.
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "policy/address.h"

namespace sluice::datapath {

struct CaptureConfig {
    bool operator==(const CaptureConfig&) const = default;

    bool install = true;                  // false: the operator brings his own TPROXY or REDIRECT rules
    std::vector<std::string> interfaces;  // where clients are; names as in `ip link`
    bool local = false;                   // the gateway's own clients, too
    std::uint32_t local_idle_s = 3600;  // how long a connection of theirs may be silent; at least the agent's
    std::vector<policy::PortRange> ports;  // original destination ports; empty: all
    std::vector<policy::Cidr> exclude_sources;
    std::vector<policy::Cidr> exclude_destinations;
    std::vector<policy::PortRange> exclude_ports;
    bool quic_reject = true;  // QUIC of captured clients to captured ports: ICMP port unreachable
    bool fail_open = false;
    std::vector<policy::IpAddress> observe;  // name servers whose answers to clients are copied (dns_watch.h)
    std::uint16_t port = 15001;              // of the agent's listener
    std::uint32_t mark = 0x10000000;         // one bit of the packet mark, set and tested under this mask
    std::uint32_t routing_table = 15001;     // also the rule's priority; before `main`, so below 32766
};

// The object and the cause, in one line.
struct CaptureError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The nftables script that install_capture() runs: for `sluice doctor`, for tests, for the curious. Throws
// CaptureError when the configuration cannot be expressed (no interface, a name that is none, a mark of
// several bits).
std::string capture_ruleset(const CaptureConfig& config);

// Replaces whatever an earlier agent left, also one with another mark or table that was killed; calling it
// twice is the same as once. Interfaces need not exist yet. Listen first: the rules take effect at once.
// Works in the network namespace of the calling thread. Throws CaptureError, and then has removed what it had
// done. With `install` false, this and remove_capture() do nothing.
void install_capture(const CaptureConfig& config);

// Removes table `inet sluice`, the rules and the routes; nothing there is not an error.
void remove_capture(const CaptureConfig& config);

}  // namespace sluice::datapath
