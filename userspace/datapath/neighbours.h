#pragma once
// The hosts on this host's own links, as the kernel's neighbour table has them (`ip neigh`).
#include <cstdint>
#include <optional>

#include "policy/address.h"
#include "policy/mac_address.h"
#include "userspace/datapath/fd.h"

namespace sluice::datapath {

// Owns a socket, from the first question on. Not thread-safe. Asks in the network namespace that the thread
// was in then.
class Neighbours {
  public:
    // Where packets to this address go on the link: to the host that has a connection from there, as it would
    // hear nothing else. (Not who sent its SYN: anybody can write any address.) Nothing when that is a
    // gateway's, since the host is behind it; for this host's own addresses; for link-local ones of IPv6,
    // which every link may have; on links without such addresses; and when the kernel does not know it, or
    // cannot be asked.
    //
    // Some 6 us for the route and the neighbour, and nothing that waits for the network. Before Linux 6.17
    // the second waits for whoever changes interfaces just then (the RTNL lock).
    std::optional<policy::MacAddress> mac_of(const policy::IpAddress& address);

  private:
    Fd socket_;
    std::uint32_t sequence_ = 0;
};

}  // namespace sluice::datapath
