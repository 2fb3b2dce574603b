#include "userspace/datapath/packet_reset.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "userspace/datapath/fd.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::datapath {

namespace {

constexpr std::uint8_t reset_hops = 64;

// RFC 1071, over whole 16-bit words.
std::uint16_t checksum(const void* bytes, std::size_t size, std::uint32_t sum = 0) {
    std::uint16_t word = 0;
    for (std::size_t at = 0; at + sizeof word <= size; at += sizeof word) {
        std::memcpy(&word, static_cast<const char*>(bytes) + at, sizeof word);
        sum += word;
    }
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

tcphdr reset_header(const packet_tuple& tuple, std::uint32_t seq) {
    tcphdr tcp{};
    tcp.source = tuple.source_port;
    tcp.dest = tuple.destination_port;
    tcp.seq = htonl(seq);
    tcp.doff = sizeof tcp / 4;
    tcp.rst = 1;
    return tcp;
}

bool send(int family, const void* packet, std::size_t bytes, const sockaddr* to, socklen_t to_bytes) {
    const Fd socket(::socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));  // with our own IP header
    return socket &&
           ::sendto(socket.get(), packet, bytes, MSG_DONTWAIT, to, to_bytes) == static_cast<ssize_t>(bytes);
}

struct PseudoV4 {
    std::uint32_t source;
    std::uint32_t destination;
    std::uint16_t protocol;
    std::uint16_t bytes;
};

struct PseudoV6 {
    std::uint32_t source[4];
    std::uint32_t destination[4];
    std::uint32_t bytes;
    std::uint32_t protocol;
};

template <class Pseudo>
std::uint16_t tcp_checksum(const Pseudo& pseudo, const tcphdr& tcp) {
    const auto sum_of_pseudo = static_cast<std::uint16_t>(~checksum(&pseudo, sizeof pseudo));
    return checksum(&tcp, sizeof tcp, sum_of_pseudo);
}

bool send_reset_v4(const packet_tuple& tuple, tcphdr tcp) {
    struct {
        iphdr ip;
        tcphdr tcp;
    } packet{};
    packet.ip.version = 4;
    packet.ip.ihl = sizeof packet.ip / 4;
    packet.ip.tot_len = htons(sizeof packet);
    packet.ip.ttl = reset_hops;
    packet.ip.protocol = IPPROTO_TCP;
    packet.ip.saddr = tuple.source[3];
    packet.ip.daddr = tuple.destination[3];  // the kernel fills in the header's checksum
    const PseudoV4 pseudo{tuple.source[3], tuple.destination[3], htons(IPPROTO_TCP), htons(sizeof tcp)};
    tcp.check = tcp_checksum(pseudo, tcp);
    packet.tcp = tcp;
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = tuple.destination[3];
    return send(AF_INET, &packet, sizeof packet, reinterpret_cast<sockaddr*>(&to), sizeof to);
}

bool send_reset_v6(const packet_tuple& tuple, tcphdr tcp) {
    struct {
        ip6_hdr ip;
        tcphdr tcp;
    } packet{};
    packet.ip.ip6_flow = htonl(6U << 28);
    packet.ip.ip6_plen = htons(sizeof tcp);
    packet.ip.ip6_nxt = IPPROTO_TCP;
    packet.ip.ip6_hlim = reset_hops;
    std::memcpy(&packet.ip.ip6_src, tuple.source, sizeof tuple.source);
    std::memcpy(&packet.ip.ip6_dst, tuple.destination, sizeof tuple.destination);
    PseudoV6 pseudo{};
    std::memcpy(pseudo.source, tuple.source, sizeof tuple.source);
    std::memcpy(pseudo.destination, tuple.destination, sizeof tuple.destination);
    pseudo.bytes = htonl(sizeof tcp);
    pseudo.protocol = htonl(IPPROTO_TCP);
    tcp.check = tcp_checksum(pseudo, tcp);
    packet.tcp = tcp;
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6;
    to.sin6_addr = packet.ip.ip6_dst;
    return send(AF_INET6, &packet, sizeof packet, reinterpret_cast<sockaddr*>(&to), sizeof to);
}

}  // namespace

bool send_reset(const packet_tuple& tuple, std::uint32_t seq) {
    const tcphdr tcp = reset_header(tuple, seq);
    return packet_is_v4(tuple) ? send_reset_v4(tuple, tcp) : send_reset_v6(tuple, tcp);
}

}  // namespace sluice::datapath
