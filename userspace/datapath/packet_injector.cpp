#include "userspace/datapath/packet_injector.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "userspace/datapath/flow_table.h"

namespace sluice::datapath {
namespace {

constexpr std::uint8_t hops = 64;

// struct virtio_net_hdr of linux/virtio_net.h, which is no C++; packet(7), PACKET_VNET_HDR.
struct Offload {
    std::uint8_t flags = 1;     // NEEDS_CSUM: the checksum is to be computed
    std::uint8_t gso_type = 0;  // NONE
    std::uint16_t header_bytes = 0;
    std::uint16_t gso_size = 0;
    std::uint16_t csum_start = 0;
    std::uint16_t csum_offset = 0;
};
static_assert(sizeof(Offload) == 10);
constexpr std::uint8_t gso_tcp_v4 = 1;
constexpr std::uint8_t gso_tcp_v6 = 4;

// A packet's headers, written one after the other.
class Headers {
  public:
    template <class Header>
    Header& add() {
        auto* header = new (bytes_.data() + size_) Header{};
        size_ += sizeof(Header);
        return *header;
    }
    std::size_t size() const { return size_; }
    char* data() { return bytes_.data(); }

  private:
    alignas(8) std::array<char, 128> bytes_{};
    std::size_t size_ = 0;
};

struct [[gnu::packed]] Timestamps {
    std::uint8_t head[4] = {1, 1, 8, 10};
    std::uint32_t tsval = 0;
    std::uint32_t tsecr = 0;
};

bool is_v4(const packet_tuple& tuple) {
    return tuple.source[0] == 0 && tuple.source[1] == 0 && tuple.source[2] == htonl(0xffff);
}

std::uint16_t fold(std::uint64_t sum) {
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

std::uint64_t sum_of(const void* bytes, std::size_t size) {
    std::uint64_t sum = 0;
    for (std::size_t at = 0; at + 1 < size; at += 2) {
        std::uint16_t word = 0;
        std::memcpy(&word, static_cast<const char*>(bytes) + at, sizeof word);
        sum += word;
    }
    return sum;
}

void write_v4(iphdr& ip, const packet_tuple& tuple, std::size_t l4_bytes) {
    ip.version = 4;
    ip.ihl = 5;
    ip.ttl = hops;
    ip.protocol = IPPROTO_TCP;
    ip.frag_off = htons(IP_DF);
    ip.tot_len = htons(static_cast<std::uint16_t>(sizeof ip + l4_bytes));
    ip.saddr = tuple.source[3];
    ip.daddr = tuple.destination[3];
    ip.check = static_cast<std::uint16_t>(~fold(sum_of(&ip, sizeof ip)));
}

void write_v6(ip6_hdr& ip, const packet_tuple& tuple, std::size_t l4_bytes) {
    ip.ip6_flow = htonl(6u << 28);
    ip.ip6_plen = htons(static_cast<std::uint16_t>(l4_bytes));
    ip.ip6_nxt = IPPROTO_TCP;
    ip.ip6_hlim = hops;
    std::memcpy(&ip.ip6_src, tuple.source, sizeof ip.ip6_src);
    std::memcpy(&ip.ip6_dst, tuple.destination, sizeof ip.ip6_dst);
}

// The kernel, or the device, adds the rest of the checksum: of the pseudo header only.
std::uint16_t pseudo_sum(const packet_tuple& tuple, bool v4, std::size_t l4_bytes) {
    const std::size_t from = v4 ? 3 : 0;
    const std::uint64_t addresses =
        sum_of(&tuple.source[from], (4 - from) * 4) + sum_of(&tuple.destination[from], (4 - from) * 4);
    return fold(addresses + htons(IPPROTO_TCP) + htons(static_cast<std::uint16_t>(l4_bytes)));
}

void write_tcp(tcphdr& tcp, const InjectedSegment& segment, std::size_t l4_bytes, std::size_t payload_bytes,
               bool v4) {
    tcp.source = segment.tuple.source_port;
    tcp.dest = segment.tuple.destination_port;
    tcp.seq = htonl(segment.seq);
    tcp.ack_seq = htonl(segment.ack);
    tcp.doff = (sizeof tcp + (segment.timestamps ? sizeof(Timestamps) : 0)) / 4;
    tcp.ack = 1;
    tcp.psh = payload_bytes > 0;
    tcp.fin = segment.fin;
    tcp.window = htons(segment.window);
    tcp.check = pseudo_sum(segment.tuple, v4, l4_bytes);
}

}  // namespace

PacketInjector::PacketInjector() : socket_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)) {
    sockaddr_ll loopback{};
    loopback.sll_family = AF_PACKET;
    loopback.sll_ifindex = static_cast<int>(::if_nametoindex("lo"));
    const int on = 1;
    // Past the queueing discipline, which would only delay it.
    if (!socket_ || ::setsockopt(socket_.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0 ||
        ::setsockopt(socket_.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) != 0 ||
        ::bind(socket_.get(), reinterpret_cast<sockaddr*>(&loopback), sizeof loopback) != 0) {
        throw StateError(std::string("packet socket on lo: ") + std::strerror(errno));
    }
}

bool PacketInjector::inject(const InjectedSegment& segment, std::span<const char> payload) {
    if (payload.size() > payload_bytes_max) return false;
    const bool v4 = is_v4(segment.tuple);
    const std::size_t tcp_bytes = sizeof(tcphdr) + (segment.timestamps ? sizeof(Timestamps) : 0);
    const std::size_t l4_bytes = tcp_bytes + payload.size();
    Headers headers;
    auto& offload = headers.add<Offload>();
    headers.add<ethhdr>().h_proto = htons(v4 ? ETH_P_IP : ETH_P_IPV6);
    if (v4) {
        write_v4(headers.add<iphdr>(), segment.tuple, l4_bytes);
    } else {
        write_v6(headers.add<ip6_hdr>(), segment.tuple, l4_bytes);
    }
    offload.csum_start = static_cast<std::uint16_t>(headers.size() - sizeof offload);
    offload.csum_offset = offsetof(tcphdr, check);
    write_tcp(headers.add<tcphdr>(), segment, l4_bytes, payload.size(), v4);
    if (segment.timestamps) {
        auto& timestamps = headers.add<Timestamps>();
        timestamps.tsval = htonl(segment.tsval);
        timestamps.tsecr = htonl(segment.tsecr);
    }
    if (payload.size() > segment.segment_bytes) {
        offload.gso_type = v4 ? gso_tcp_v4 : gso_tcp_v6;
        offload.gso_size = segment.segment_bytes;
        offload.header_bytes = static_cast<std::uint16_t>(headers.size() - sizeof offload);
    }
    std::array<iovec, 2> parts{
        {{headers.data(), headers.size()}, {const_cast<char*>(payload.data()), payload.size()}}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    return ::sendmsg(socket_.get(), &message, MSG_DONTWAIT) >= 0;
}

}  // namespace sluice::datapath
