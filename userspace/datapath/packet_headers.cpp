#include "userspace/datapath/packet_headers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "userspace/datapath/packet_tuple.h"

namespace sluice::datapath {
namespace {

constexpr std::uint8_t hops = 64;

}  // namespace

iphdr ipv4_header(const packet_tuple& tuple, std::size_t tcp_bytes) {
    iphdr ip{};
    ip.version = 4;
    ip.ihl = sizeof ip / 4;
    ip.tot_len = htons(static_cast<std::uint16_t>(sizeof ip + tcp_bytes));
    ip.frag_off = htons(IP_DF);
    ip.ttl = hops;
    ip.protocol = IPPROTO_TCP;
    ip.saddr = tuple.source[3];
    ip.daddr = tuple.destination[3];
    return ip;
}

ip6_hdr ipv6_header(const packet_tuple& tuple, std::size_t tcp_bytes) {
    ip6_hdr ip{};
    ip.ip6_flow = htonl(6U << 28);
    ip.ip6_plen = htons(static_cast<std::uint16_t>(tcp_bytes));
    ip.ip6_nxt = IPPROTO_TCP;
    ip.ip6_hlim = hops;
    std::memcpy(&ip.ip6_src, tuple.source, sizeof ip.ip6_src);
    std::memcpy(&ip.ip6_dst, tuple.destination, sizeof ip.ip6_dst);
    return ip;
}

std::uint16_t packet_sum(const void* bytes, std::size_t size) {
    std::uint64_t sum = 0;
    std::size_t at = 0;
    for (; at + 2 <= size; at += 2) {
        std::uint16_t word = 0;
        std::memcpy(&word, static_cast<const char*>(bytes) + at, sizeof word);
        sum += word;
    }
    if (at < size) sum += static_cast<const unsigned char*>(bytes)[at];
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

std::uint16_t pseudo_header_sum(const packet_tuple& tuple, std::size_t tcp_bytes) {
    const std::size_t from = packet_is_v4(tuple) ? 3 : 0;
    const std::array<std::uint16_t, 4> parts = {
        packet_sum(&tuple.source[from], (4 - from) * 4), packet_sum(&tuple.destination[from], (4 - from) * 4),
        htons(IPPROTO_TCP), htons(static_cast<std::uint16_t>(tcp_bytes))};
    return packet_sum(parts.data(), sizeof parts);
}

bool send_raw(int socket, const packet_tuple& tuple, const void* packet, std::size_t bytes) {
    const SocketName to = socket_name(tuple.destination, 0, packet_is_v4(tuple));
    return ::sendto(socket, packet, bytes, MSG_DONTWAIT, to.get(), to.length) == static_cast<ssize_t>(bytes);
}

}  // namespace sluice::datapath
