#include "userspace/datapath/packet_tuple.h"

#include <netinet/in.h>

#include <cstring>

namespace sluice::datapath {

void packet_address(__u32 (&out)[4], const void* bytes, bool is_v4) {
    std::memset(out, 0, sizeof out);
    if (is_v4) out[2] = __builtin_bswap32(0xffff);
    std::memcpy(is_v4 ? &out[3] : &out[0], bytes, is_v4 ? 4 : 16);
}

packet_tuple packet_reverse(const packet_tuple& tuple) {
    packet_tuple reversed{};
    std::memcpy(reversed.source, tuple.destination, sizeof reversed.source);
    std::memcpy(reversed.destination, tuple.source, sizeof reversed.destination);
    reversed.source_port = tuple.destination_port;
    reversed.destination_port = tuple.source_port;
    return reversed;
}

bool packet_is_v4(const packet_tuple& tuple) {
    return tuple.source[0] == 0 && tuple.source[1] == 0 && tuple.source[2] == __builtin_bswap32(0xffff);
}

flow_endpoint packet_source(const packet_tuple& tuple) {
    const bool is_v4 = packet_is_v4(tuple);
    flow_endpoint endpoint{};
    std::memcpy(endpoint.address, is_v4 ? &tuple.source[3] : &tuple.source[0], is_v4 ? 4 : 16);
    endpoint.is_v4 = is_v4;
    endpoint.port = static_cast<__u16>(__builtin_bswap16(tuple.source_port));
    return endpoint;
}

flow_endpoint packet_destination(const packet_tuple& tuple) {
    return packet_source(packet_reverse(tuple));
}

SocketName socket_name(const __u32 (&address)[4], std::uint16_t port, bool is_v4) {
    SocketName name;
    if (is_v4) {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = port;
        v4.sin_addr.s_addr = address[3];
        name.length = sizeof v4;
        std::memcpy(&name.storage, &v4, sizeof v4);
    } else {
        sockaddr_in6 v6{};
        v6.sin6_family = AF_INET6;
        v6.sin6_port = port;
        std::memcpy(&v6.sin6_addr, address, sizeof address);
        name.length = sizeof v6;
        std::memcpy(&name.storage, &v6, sizeof v6);
    }
    return name;
}

}  // namespace sluice::datapath
