#include "userspace/datapath/packet_dial.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <string>

#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/monotonic.h"
#include "userspace/datapath/packet_headers.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::datapath {
namespace {

struct Syn {
    tcphdr tcp{};
    // MSS, SACK permitted, timestamps, NOP, window scale: the egress program knows this order, and fills
    // them.
    std::uint8_t options[PACKET_DIAL_SYN_BYTES - sizeof(tcphdr)] = {2, 4, 0, 0, 4, 2, 8, 10, 0, 0,
                                                                    0, 0, 0, 0, 0, 0, 1, 3,  3, 0};
};

// SipHash-2-4 (Aumasson and Bernstein) of a tuple and its zero padding; all of one length, so that none is
// needed. Written out, as none of the libraries that the product links exports a keyed hash, and the kernel's
// own, of which its sockets' numbers are made, has no door: one number per flow is no reason for a library.
class SipHash {
  public:
    explicit SipHash(const std::array<std::uint64_t, 2>& key)
        : v_{key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
             key[1] ^ 0x7465646279746573} {}
    void add(std::uint64_t word) {
        v_[3] ^= word;
        rounds(2);
        v_[0] ^= word;
    }
    std::uint64_t finish() {
        v_[2] ^= 0xff;
        rounds(4);
        return v_[0] ^ v_[1] ^ v_[2] ^ v_[3];
    }

  private:
    void rounds(int count) {
        for (int round = 0; round < count; ++round) {
            half(0, 1, 13, 2, 3, 16);
            half(2, 1, 17, 0, 3, 21);
        }
    }
    void half(int a, int b, int turn_b, int c, int d, int turn_d) {
        v_[a] += v_[b];
        v_[c] += v_[d];
        v_[b] = std::rotl(v_[b], turn_b) ^ v_[a];
        v_[d] = std::rotl(v_[d], turn_d) ^ v_[c];
        v_[a] = std::rotl(v_[a], 32);
    }
    std::array<std::uint64_t, 4> v_;
};

}  // namespace

PacketDials::PacketDials(PacketSplice& splice) : splice_(splice) {
    for (const std::size_t family : {0, 1}) {
        sockets_[family] =
            Fd(::socket(family == 0 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
        socklen_t length = sizeof cookies_[family];
        if (!sockets_[family] ||
            ::getsockopt(sockets_[family].get(), SOL_SOCKET, SO_COOKIE, &cookies_[family], &length) != 0)
            throw StateError(std::string("raw socket: ") + std::strerror(errno));
    }
    if (::getrandom(secret_.data(), sizeof secret_, 0) != sizeof secret_)
        throw StateError(std::string("getrandom: ") + std::strerror(errno));
}

// RFC 6528: another secret for each tuple, plus a clock, so that a server in TIME_WAIT takes it for newer.
std::uint32_t PacketDials::initial_sequence(const packet_tuple& client) const {
    std::array<std::uint64_t, 5> words{};
    static_assert(sizeof client <= sizeof words);
    std::memcpy(words.data(), &client, sizeof client);
    SipHash hash(secret_);
    for (const std::uint64_t word : words)
        hash.add(word);
    return static_cast<std::uint32_t>(hash.finish() + monotonic_ns() / 64);
}

std::optional<PacketDials::Dial> PacketDials::start(const PacketFlow& flow, const packet_tuple& client,
                                                    std::span<const char> first_bytes, PacketDialLeg leg) {
    leg.isn = initial_sequence(client);
    const auto slot = splice_.dial(flow, client, first_bytes, leg);
    if (!slot) return std::nullopt;
    send(client, leg.isn, *slot, true);  // if it does not leave, nobody answers
    return Dial{.slot = *slot, .isn = leg.isn, .client = client};
}

bool PacketDials::is_over(const Dial& dial) const {
    const packet_guard_state state = splice_.dial_state(dial.slot);
    return state == PACKET_GUARD_failed || state == PACKET_GUARD_on || state == PACKET_GUARD_over;
}

bool PacketDials::end(const Dial& dial) {
    if (splice_.end_dial(dial.slot)) return true;
    // For connection tracking too, which would find the socket's SYN out of order.
    send(dial.client, dial.isn + 1, 0, false);
    return false;
}

bool PacketDials::send(const packet_tuple& client, std::uint32_t seq, std::uint32_t slot, bool is_syn) {
    Syn syn;
    const std::uint32_t tsval = htonl(slot);
    std::memcpy(&syn.options[8], &tsval, sizeof tsval);
    const std::size_t tcp_bytes = is_syn ? sizeof syn : sizeof syn.tcp;
    syn.tcp.source = client.source_port;
    syn.tcp.dest = client.destination_port;
    syn.tcp.seq = htonl(seq);
    syn.tcp.doff = (tcp_bytes / 4) & 15;
    syn.tcp.syn = is_syn;
    syn.tcp.rst = !is_syn;
    const std::array<std::uint16_t, 3> sums = {is_syn ? std::uint16_t{PACKET_DIAL_MARK} : std::uint16_t{0},
                                               pseudo_header_sum(client, tcp_bytes),
                                               packet_sum(&syn, tcp_bytes)};
    syn.tcp.check = static_cast<std::uint16_t>(~packet_sum(sums.data(), sizeof sums));
    std::array<char, sizeof(ip6_hdr) + sizeof syn> packet{};
    const bool v4 = packet_is_v4(client);
    const std::size_t network_bytes = v4 ? sizeof(iphdr) : sizeof(ip6_hdr);
    const iphdr ip_v4 = ipv4_header(client, tcp_bytes);
    const ip6_hdr ip_v6 = ipv6_header(client, tcp_bytes);
    std::memcpy(packet.data(), v4 ? static_cast<const void*>(&ip_v4) : &ip_v6, network_bytes);
    std::memcpy(packet.data() + network_bytes, &syn, tcp_bytes);
    return send_raw(sockets_[v4 ? 0 : 1].get(), client, packet.data(), network_bytes + tcp_bytes);
}

}  // namespace sluice::datapath
