#include "userspace/agent/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "userspace/agent/socket.h"
#include "userspace/agent/socket_address.h"

namespace sluice::agent {
namespace {

// The kernel cuts this to net.core.somaxconn.
constexpr int backlog = 4096;

// SO_ORIGINAL_DST of linux/netfilter_ipv4.h and IP6T_SO_ORIGINAL_DST of linux/netfilter_ipv6/ip6_tables.h,
// headers that cannot be included beside netinet/in.h.
constexpr int so_original_dst = 80;

policy::Endpoint listening_address(const datapath::CaptureConfig& capture, Family family) {
    const char* text =
        family == Family::v4 ? (capture.install ? "127.0.0.1" : "0.0.0.0") : (capture.install ? "::1" : "::");
    return {*policy::IpAddress::parse(text), capture.port};
}

policy::Endpoint local_endpoint(int socket) {
    SocketAddress address;
    ::getsockname(socket, address.get(), &address.length);
    return address.endpoint();
}

// What REDIRECT or DNAT changed (conntrack knows).
std::optional<policy::Endpoint> redirected_from(int socket, bool v4) {
    SocketAddress address;
    const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
    if (::getsockopt(socket, level, so_original_dst, address.get(), &address.length) != 0)
        return std::nullopt;
    return address.endpoint();
}

}  // namespace

std::optional<datapath::Fd> open_listener(const datapath::CaptureConfig& capture, Family family) {
    const policy::Endpoint where = listening_address(capture, family);
    const auto fail = [&](const char* what) -> std::runtime_error {
        return std::runtime_error("listener " + where.to_string() + ": " + what + ": " +
                                  std::strerror(errno));
    };
    const bool v4 = family == Family::v4;
    datapath::Fd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) {
        if (!v4 && errno == EAFNOSUPPORT) return std::nullopt;
        throw fail("socket");
    }
    const int on = 1;
    const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
    if (::setsockopt(fd.get(), level, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, &on, sizeof on) != 0) {
        throw fail("IP_TRANSPARENT (needs CAP_NET_ADMIN)");
    }
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1);
    if (!v4) set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
    // Inherited by what is accepted. Never TCP_DEFER_ACCEPT: it hides clients that wait for the server to
    // speak.
    set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    SocketAddress address(where);
    if (::bind(fd.get(), address.get(), address.length) != 0) {
        if (!v4 && errno == EADDRNOTAVAIL) return std::nullopt;  // net.ipv6.conf.*.disable_ipv6
        throw fail("bind");
    }
    if (::listen(fd.get(), backlog) != 0) throw fail("listen");
    return fd;
}

std::expected<Accepted, int> accept_one(int listener) {
    SocketAddress peer;
    Accepted accepted;
    accepted.socket =
        datapath::Fd(::accept4(listener, peer.get(), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!accepted.socket) return std::unexpected(errno == EAGAIN || errno == EWOULDBLOCK ? 0 : errno);
    accepted.source = peer.endpoint();
    return accepted;
}

std::optional<policy::Endpoint> original_destination(int socket, const datapath::CaptureConfig& capture) {
    const policy::Endpoint local = local_endpoint(socket);
    if (!capture.install) {
        const auto original = redirected_from(socket, local.address.is_v4());
        if (original && *original != local) return original;
        if (local.port == capture.port) return std::nullopt;
        return local;
    }
    const Family family = local.address.is_v4() ? Family::v4 : Family::v6;
    if (local == listening_address(capture, family)) return std::nullopt;
    return local;
}

}  // namespace sluice::agent
