#include "userspace/datapath/packet_reset.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>

#include "userspace/datapath/fd.h"
#include "userspace/datapath/packet_headers.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::datapath {

namespace {

tcphdr reset_header(const packet_tuple& tuple, std::uint32_t seq) {
    tcphdr tcp{};
    tcp.source = tuple.source_port;
    tcp.dest = tuple.destination_port;
    tcp.seq = htonl(seq);
    tcp.doff = sizeof tcp / 4;
    tcp.rst = 1;
    const std::array<std::uint16_t, 2> sums = {pseudo_header_sum(tuple, sizeof tcp),
                                               packet_sum(&tcp, sizeof tcp)};
    tcp.check = static_cast<std::uint16_t>(~packet_sum(sums.data(), sizeof sums));
    return tcp;
}

template <class Network>
struct Packet {
    Network ip;
    tcphdr tcp;
};

template <class Network>
bool send(int family, const packet_tuple& tuple, const Packet<Network>& packet) {
    const Fd socket(::socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
    return socket && send_raw(socket.get(), tuple, &packet, sizeof packet);
}

}  // namespace

bool send_reset(const packet_tuple& tuple, std::uint32_t seq) {
    const tcphdr tcp = reset_header(tuple, seq);
    if (!packet_is_v4(tuple))
        return send(AF_INET6, tuple, Packet<ip6_hdr>{ipv6_header(tuple, sizeof tcp), tcp});
    Packet<iphdr> packet{ipv4_header(tuple, sizeof tcp), tcp};
    packet.ip.frag_off = 0;
    return send(AF_INET, tuple, packet);
}

}  // namespace sluice::datapath
