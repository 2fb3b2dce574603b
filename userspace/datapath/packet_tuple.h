#pragma once
// TCP four-tuples as bpf/packet_abi.h has them.
#include <sys/socket.h>

#include <cstdint>

#include "bpf/flow_abi.h"
#include "bpf/packet_abi.h"

namespace sluice::datapath {

// a.b.c.d as ::ffff:a.b.c.d, an IPv6 address as it is. `bytes`: 4 or 16, network order.
void packet_address(__u32 (&out)[4], const void* bytes, bool is_v4);
packet_tuple packet_reverse(const packet_tuple& tuple);
bool packet_is_v4(const packet_tuple& tuple);
// As a flow record has them.
flow_endpoint packet_source(const packet_tuple& tuple);
flow_endpoint packet_destination(const packet_tuple& tuple);

// One end of it, for the socket calls; `port` in network order.
struct SocketName {
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }

    sockaddr_storage storage{};
    socklen_t length = 0;
};
SocketName socket_name(const __u32 (&address)[4], std::uint16_t port, bool is_v4);

}  // namespace sluice::datapath
