#include "userspace/agent/listener.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
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

// What REDIRECT or DNAT changed (conntrack knows).
std::optional<policy::Endpoint> redirected_from(int socket, bool v4) {
    SocketAddress address;
    const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
    if (::getsockopt(socket, level, so_original_dst, address.get(), &address.length) != 0)
        return std::nullopt;
    return address.endpoint();
}

std::optional<policy::Endpoint> dialled(int socket, const datapath::CaptureConfig& capture) {
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

// Addresses that no other host can have: a connection to one of them would end on this host.
bool is_nowhere(const policy::IpAddress& address) {
    static const std::array nowhere = {*policy::Cidr::parse("0.0.0.0/8"), *policy::Cidr::parse("127.0.0.0/8"),
                                       *policy::Cidr::parse("224.0.0.0/4"), *policy::Cidr::parse("::/127"),
                                       *policy::Cidr::parse("ff00::/8")};
    return std::ranges::any_of(nowhere, [&](const policy::Cidr& range) { return range.contains(address); });
}

[[noreturn]] void fail(const policy::Endpoint& where, const char* what) {
    throw std::runtime_error("listener " + where.to_string() + ": " + what + ": " + std::strerror(errno));
}

// What every listening socket of ours has, and what is accepted inherits. Never TCP_DEFER_ACCEPT: it hides
// clients that wait for the server to speak.
void set_listener_options(int fd, bool v4) {
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (!v4) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);  // an urgent byte is a byte of the stream
}

}  // namespace

policy::Endpoint local_endpoint(int socket) {
    SocketAddress address;
    ::getsockname(socket, address.get(), &address.length);
    return address.endpoint();
}

std::optional<datapath::Fd> open_listener(const datapath::CaptureConfig& capture, Family family) {
    const policy::Endpoint where = listening_address(capture, family);
    const bool v4 = family == Family::v4;
    datapath::Fd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) {
        if (!v4 && errno == EAFNOSUPPORT) return std::nullopt;
        fail(where, "socket");
    }
    const int on = 1;
    const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
    if (::setsockopt(fd.get(), level, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, &on, sizeof on) != 0) {
        fail(where, "IP_TRANSPARENT (needs CAP_NET_ADMIN)");
    }
    set_listener_options(fd.get(), v4);
    SocketAddress address(where);
    if (::bind(fd.get(), address.get(), address.length) != 0) {
        if (!v4 && errno == EADDRNOTAVAIL) return std::nullopt;  // net.ipv6.conf.*.disable_ipv6
        fail(where, "bind");
    }
    if (::listen(fd.get(), backlog) != 0) fail(where, "listen");
    return fd;
}

datapath::Fd open_proxy_listener(const policy::Endpoint& where) {
    const bool v4 = where.address.is_v4();
    datapath::Fd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) fail(where, "socket");
    set_listener_options(fd.get(), v4);
    SocketAddress address(where);
    if (::bind(fd.get(), address.get(), address.length) != 0) fail(where, "bind");
    if (::listen(fd.get(), backlog) != 0) fail(where, "listen");
    return fd;
}

datapath::Fd claim_port(std::uint16_t port) {
    // An abstract name of a unix socket belongs to the network namespace, and goes when its holder dies.
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    const std::string text = "sluice-agent-" + std::to_string(port);
    std::memcpy(name.sun_path + 1, text.data(), text.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
    datapath::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), length) == 0) return fd;
    throw std::runtime_error("port " + std::to_string(port) +
                             ": another sluice agent serves it in this network namespace");
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

// What routing would give the way to it as its source: of an own address, itself. (A connect(2) of UDP sends
// nothing.)
bool is_own_address(const policy::IpAddress& address) {
    const datapath::Fd fd(::socket(address.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    SocketAddress to(policy::Endpoint{address, 9});
    return fd && ::connect(fd.get(), to.get(), to.length) == 0 && local_endpoint(fd.get()).address == address;
}

std::optional<policy::Endpoint> original_destination(int socket, const datapath::CaptureConfig& capture) {
    auto destination = dialled(socket, capture);
    if (destination && is_nowhere(destination->address)) return std::nullopt;
    return destination;
}

}  // namespace sluice::agent
