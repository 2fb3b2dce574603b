#pragma once
// A socket out of a leg's numbers: for a client whose first bytes were read without one.
#include <expected>
#include <span>

#include "bpf/hold_abi.h"
#include "userspace/datapath/fd.h"

namespace sluice::datapath {

// Connected, non-blocking and transparent; these bytes wait in it, and its peer has not been told that they
// have arrived. `client`: the tuple of the client's packets. Sends nothing. By the routing of the calling
// thread's network namespace (TCP_REPAIR, needs CAP_NET_ADMIN). The error is errno's: EADDRNOTAVAIL, the
// kernel has a socket or a connection request with this tuple.
std::expected<Fd, int> socket_of_leg(const held_leg& leg, const packet_tuple& client,
                                     std::span<const char> first_bytes);

}  // namespace sluice::datapath
