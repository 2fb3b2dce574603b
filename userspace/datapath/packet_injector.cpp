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
#include "userspace/datapath/packet_headers.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::datapath {
namespace {

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

void write_tcp(tcphdr& tcp, const InjectedSegment& segment, std::size_t l4_bytes, std::size_t payload_bytes) {
    tcp.source = segment.tuple.source_port;
    tcp.dest = segment.tuple.destination_port;
    tcp.seq = htonl(segment.seq);
    tcp.ack_seq = htonl(segment.ack);
    tcp.doff = (sizeof tcp + (segment.timestamps ? sizeof(Timestamps) : 0)) / 4;
    tcp.ack = 1;
    tcp.psh = payload_bytes > 0;
    tcp.fin = segment.fin;
    tcp.window = htons(segment.window);
    // The kernel, or the device, adds the rest.
    tcp.check = pseudo_header_sum(segment.tuple, l4_bytes);
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
    const bool v4 = packet_is_v4(segment.tuple);
    const std::size_t tcp_bytes = sizeof(tcphdr) + (segment.timestamps ? sizeof(Timestamps) : 0);
    const std::size_t l4_bytes = tcp_bytes + payload.size();
    Headers headers;
    auto& offload = headers.add<Offload>();
    headers.add<ethhdr>().h_proto = htons(v4 ? ETH_P_IP : ETH_P_IPV6);
    if (v4) {
        auto& ip = headers.add<iphdr>();
        ip = ipv4_header(segment.tuple, l4_bytes);
        ip.check = static_cast<std::uint16_t>(~packet_sum(&ip, sizeof ip));
    } else {
        headers.add<ip6_hdr>() = ipv6_header(segment.tuple, l4_bytes);
    }
    offload.csum_start = static_cast<std::uint16_t>(headers.size() - sizeof offload);
    offload.csum_offset = offsetof(tcphdr, check);
    write_tcp(headers.add<tcphdr>(), segment, l4_bytes, payload.size());
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
