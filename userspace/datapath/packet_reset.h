#pragma once
// An RST out of nowhere: for connections of which this host has the numbers but no socket.
#include <cstdint>

#include "bpf/packet_abi.h"

namespace sluice::datapath {

// Sends one RST with the tuple and sequence number (host order) given, by the routing of the calling thread's
// network namespace. RFC 5961 3: its receiver believes it if `seq` is exactly what it expects next. False:
// the kernel refused; errno says why.
bool send_reset(const packet_tuple& tuple, std::uint32_t seq);

}  // namespace sluice::datapath
