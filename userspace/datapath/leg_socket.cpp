#include "userspace/datapath/leg_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "userspace/datapath/monotonic.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::datapath {
namespace {

constexpr std::uint32_t ns_per_ms = 1'000'000;
template <class T>
bool set(int fd, int level, int name, const T& value) {
    return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

bool begin_at(int fd, int queue, std::uint32_t seq) {
    return set(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue) && set(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, seq);
}

// What the two ends have agreed upon.
bool agree(int fd, const held_leg& leg) {
    std::array<tcp_repair_opt, 4> options{};
    socklen_t count = 0;
    if (leg.peer_mss != 0) options[count++] = {TCPOPT_MAXSEG, leg.peer_mss};
    // Without scaling, too: by itself the kernel has chosen some scale, as it would for a SYN.
    const bool scales = (leg.options & LEG_SCALING) != 0;
    options[count++] = {TCPOPT_WINDOW,
                        scales ? leg.peer_scale | static_cast<std::uint32_t>(leg.local_scale) << 16 : 0U};
    if ((leg.options & LEG_SACK) != 0) options[count++] = {TCPOPT_SACK_PERMITTED, 0};
    if ((leg.options & LEG_TIMESTAMPS) != 0) options[count++] = {TCPOPT_TIMESTAMP, 0};
    const std::uint64_t passed_ms = (monotonic_ns() - leg.local_tsval_ns) / ns_per_ms;
    const std::uint32_t clock = leg.local_tsval + static_cast<std::uint32_t>(passed_ms);
    return ::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, options.data(),
                        count * sizeof(tcp_repair_opt)) == 0 &&
           set(fd, IPPROTO_TCP, TCP_TIMESTAMP, clock);
}

// How much the peer may be sent.
bool open_window(int fd, const held_leg& leg) {
    tcp_repair_window window{};
    socklen_t length = sizeof window;
    if (::getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &length) != 0) return false;
    window.snd_wl1 = leg.peer_isn + 1;
    window.snd_wnd = static_cast<std::uint32_t>(leg.peer_window) << leg.peer_scale;
    window.max_window = window.snd_wnd;
    return set(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, window);
}

bool receive(int fd, std::span<const char> bytes) {
    return set(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, static_cast<int>(TCP_RECV_QUEUE)) &&
           ::send(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
}

bool build(int fd, const held_leg& leg, const packet_tuple& client, std::span<const char> first_bytes) {
    const bool v4 = packet_is_v4(client);
    const SocketName local = socket_name(client.destination, client.destination_port, v4);
    const SocketName peer = socket_name(client.source, client.source_port, v4);
    return set(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, 1) &&
           set(fd, IPPROTO_TCP, TCP_REPAIR, 1) && begin_at(fd, TCP_SEND_QUEUE, leg.local_isn + 1) &&
           begin_at(fd, TCP_RECV_QUEUE, leg.peer_isn + 1) && ::bind(fd, local.get(), local.length) == 0 &&
           ::connect(fd, peer.get(), peer.length) == 0 && agree(fd, leg) && open_window(fd, leg) &&
           receive(fd, first_bytes) && set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
}

}  // namespace

std::expected<Fd, int> socket_of_leg(const held_leg& leg, const packet_tuple& client,
                                     std::span<const char> first_bytes) {
    const int family = packet_is_v4(client) ? AF_INET : AF_INET6;
    Fd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd || !build(fd.get(), leg, client, first_bytes)) return std::unexpected(errno);
    return fd;
}

}  // namespace sluice::datapath
