#pragma once
// Network headers, checksums and raw sockets for TCP segments that this host sends without a TCP socket.
#include <netinet/ip.h>
#include <netinet/ip6.h>

#include <cstddef>
#include <cstdint>

#include "bpf/packet_abi.h"

namespace sluice::datapath {

// From the tuple's source to its destination; IPv4's has no checksum, which raw sockets fill in.
iphdr ipv4_header(const packet_tuple& tuple, std::size_t tcp_bytes);
ip6_hdr ipv6_header(const packet_tuple& tuple, std::size_t tcp_bytes);

// RFC 1071: of bytes as 16-bit words in memory, the last one filled up with 0, in one's complement.
std::uint16_t packet_sum(const void* bytes, std::size_t size);
// The same of TCP's pseudo header (RFC 9293 3.1).
std::uint16_t pseudo_header_sum(const packet_tuple& tuple, std::size_t tcp_bytes);

// By a raw socket of the tuple's family that takes network headers (IPPROTO_RAW), without waiting. False:
// errno says why.
bool send_raw(int socket, const packet_tuple& tuple, const void* packet, std::size_t bytes);

}  // namespace sluice::datapath
