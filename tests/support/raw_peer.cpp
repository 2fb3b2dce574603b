#include "tests/support/raw_peer.h"

#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "tests/support/process.h"
#include "tests/support/socket_address.h"

namespace sluice::test {
namespace {

constexpr int mark = 0x7a3;  // of what the test sends itself
constexpr std::uint16_t window = 60'000;
constexpr std::string_view mss_option("\x02\x04\x05\xb4", 4);

// RFC 1071.
std::uint16_t checksum(std::string_view bytes) {
    std::uint32_t sum = 0;
    for (std::size_t at = 0; at < bytes.size(); ++at)
        sum += static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes[at])) << (at % 2 == 0 ? 8 : 0);
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

template <class Header>
std::string bytes_of(const Header& header) {
    return {reinterpret_cast<const char*>(&header), sizeof header};
}

std::string address_bytes(const policy::Endpoint& endpoint) {
    return {reinterpret_cast<const char*>(endpoint.address.bytes().data()), 4};
}

int raw_socket(const Netns& netns, int protocol) {
    const int descriptor = netns.run([&] { return ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, protocol); });
    if (descriptor < 0) throw std::system_error(errno, std::generic_category(), "raw socket");
    return descriptor;
}

}  // namespace

RawPeer::RawPeer(const Netns& netns, const policy::Endpoint& local, const policy::Endpoint& remote)
    : netns_(netns),
      local_(local),
      remote_(remote),
      sender_(raw_socket(netns, IPPROTO_RAW)),
      receiver_(raw_socket(netns, IPPROTO_TCP)) {
    static std::atomic<int> count = 0;
    table_ = "raw_" + std::to_string(count++);
    ::setsockopt(sender_, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
    const std::string rule = "tcp sport " + std::to_string(local.port) + " tcp dport " +
                             std::to_string(remote.port) +
                             " tcp flags & rst == rst meta mark != " + std::to_string(mark) + " drop";
    const Finished nft =
        run_process({"nft", "-f", "-"},
                    {.netns = &netns,
                     .input = "table ip " + table_ + " { chain out { type filter hook output priority 0; " +
                              rule + "; }; }\n"});
    if (nft.exit_code != 0) throw std::runtime_error("nft: " + nft.err);
}

RawPeer::~RawPeer() {
    ::close(sender_);
    ::close(receiver_);
    run_process({"nft", "delete", "table", "ip", table_}, {.netns = &netns_});
}

void RawPeer::send(const RawSegment& segment) const {
    const std::string options((segment.flags & TH_SYN) != 0 ? mss_option : std::string_view());
    tcphdr tcp{};
    tcp.source = htons(local_.port);
    tcp.dest = htons(remote_.port);
    tcp.seq = htonl(segment.seq.value_or(seq));
    tcp.ack_seq = htonl((segment.flags & TH_ACK) != 0 ? segment.ack.value_or(ack) : 0);
    tcp.doff = static_cast<std::uint16_t>((sizeof tcp + options.size()) / 4) & 15;
    tcp.th_flags = segment.flags;
    tcp.window = htons(window);
    const std::string rest = options + segment.payload;
    const std::string pseudo = address_bytes(local_) + address_bytes(remote_) + std::string("\0\x06", 2) +
                               bytes_of(htons(static_cast<std::uint16_t>(sizeof tcp + rest.size())));
    tcp.check = htons(checksum(pseudo + bytes_of(tcp) + rest));
    if (segment.checksum == RawChecksum::wrong) tcp.check ^= 0x5555;
    if (segment.checksum == RawChecksum::unfinished)
        tcp.check = htons(static_cast<std::uint16_t>(~checksum(pseudo)));
    iphdr ip{};
    ip.version = 4;
    ip.ihl = 5;
    ip.ttl = 64;
    ip.protocol = IPPROTO_TCP;
    ip.frag_off = htons(IP_DF);
    std::memcpy(&ip.saddr, local_.address.bytes().data(), sizeof ip.saddr);
    std::memcpy(&ip.daddr, remote_.address.bytes().data(), sizeof ip.daddr);
    const std::string packet = bytes_of(ip) + bytes_of(tcp) + rest;  // the kernel fills in the rest of `ip`
    SocketAddress to(remote_);
    if (::sendto(sender_, packet.data(), packet.size(), 0, to.data(), to.size) < 0)
        throw std::system_error(errno, std::generic_category(), "sendto");
}

std::optional<RawSegment> RawPeer::parse(std::string_view packet) const {
    iphdr ip{};
    tcphdr tcp{};
    std::memcpy(&ip, packet.data(), sizeof ip);
    if (packet.size() < ip.ihl * 4 + sizeof tcp) return std::nullopt;
    if (packet.substr(12, 4) != address_bytes(remote_)) return std::nullopt;
    packet.remove_prefix(ip.ihl * 4);
    std::memcpy(&tcp, packet.data(), sizeof tcp);
    if (tcp.source != htons(remote_.port) || tcp.dest != htons(local_.port)) return std::nullopt;
    return RawSegment{.flags = tcp.th_flags,
                      .seq = ntohl(tcp.seq),
                      .ack = ntohl(tcp.ack_seq),
                      .payload = std::string(packet.substr(tcp.doff * 4))};
}

std::optional<RawSegment> RawPeer::receive(milliseconds deadline) const {
    const auto end = std::chrono::steady_clock::now() + deadline;
    std::array<char, 65536> buffer;
    for (;;) {
        const auto left = std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now());
        pollfd ready{receiver_, POLLIN, 0};
        if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) <= 0) return std::nullopt;
        const ssize_t bytes = ::recv(receiver_, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (bytes < static_cast<ssize_t>(sizeof(iphdr))) continue;
        if (auto segment = parse({buffer.data(), static_cast<std::size_t>(bytes)})) return segment;
    }
}

bool RawPeer::connect() {
    was_reset_ = false;
    send({.flags = TH_SYN});
    while (const auto answer = receive(2s)) {
        if ((answer->flags & TH_RST) != 0) return false;
        if (answer->flags != (TH_SYN | TH_ACK) || answer->ack != seq + 1) continue;
        ++seq;
        ack = *answer->seq + 1;
        send({.flags = TH_ACK});
        return true;
    }
    return false;
}

bool RawPeer::accept(const std::function<void()>& before_the_answer) {
    const auto syn = receive();
    if (!syn || syn->flags != TH_SYN) return false;
    ack = *syn->seq + 1;
    if (before_the_answer) before_the_answer();
    send({.flags = TH_SYN | TH_ACK});
    ++seq;
    return true;
}

void RawPeer::say(std::string_view bytes) {
    send({.flags = TH_PUSH | TH_ACK, .payload = std::string(bytes)});
    seq += static_cast<std::uint32_t>(bytes.size());
}

std::string RawPeer::hear(std::size_t bytes, milliseconds deadline) {
    std::string heard;
    while (heard.size() < bytes) {
        const auto segment = receive(deadline);
        if (!segment) return heard;
        if ((segment->flags & TH_RST) != 0) {
            was_reset_ = true;
            return heard;
        }
        if (segment->seq != ack) continue;
        heard += segment->payload;
        ack += static_cast<std::uint32_t>(segment->payload.size());
        const bool finished = (segment->flags & TH_FIN) != 0;
        if (finished) ++ack;
        if (finished || !segment->payload.empty()) send({.flags = TH_ACK});
        if (finished) return heard;
    }
    return heard;
}

}  // namespace sluice::test
