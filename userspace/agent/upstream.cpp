#include "userspace/agent/upstream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "userspace/agent/listener.h"
#include "userspace/agent/socket_address.h"
#include "userspace/agent/worker.h"

namespace sluice::agent {
namespace {

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

flow_end why_not(int error) {
    switch (error) {
        case ECONNREFUSED:
            return FLOW_END_upstream_refused;
        case ETIMEDOUT:
            return FLOW_END_upstream_timeout;
        case EHOSTUNREACH:
        case ENETUNREACH:
        case EHOSTDOWN:
        case ENETDOWN:
        case ENOPROTOOPT:  // ICMP protocol unreachable
        case EACCES:       // ICMP administratively prohibited, or a local rule
        case EPERM:
            return FLOW_END_upstream_unreachable;
        default:
            return FLOW_END_upstream_failed;
    }
}

enum class SourcePort : std::uint8_t { of_the_client, any };

// Gives the socket the client's address. It need not be ours: IP_TRANSPARENT.
int bind_to_client(int fd, const policy::Endpoint& source, SourcePort port) {
    const bool v4 = source.address.is_v4();
    set_option(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, 1);
    policy::Endpoint local = source;
    if (port == SourcePort::any) {
        local.port = 0;
        set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    } else {
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);  // the client may reuse its port towards another server
    }
    SocketAddress address(local);
    return ::bind(fd, address.get(), address.length) == 0 ? 0 : errno;
}

struct Attempt {
    datapath::Fd fd;
    int error = 0;  // EINPROGRESS: under way
    bool has_source_of_client = false;
};

Attempt start_connecting(const Flow& flow, const Config& config, SourcePort port, PacketMode* packet) {
    // A client of the proxy may be anywhere: the server's answers must come here, whatever the routes.
    const UpstreamSource source = flow.proxied ? UpstreamSource::gateway : config.upstream_source;
    const bool is_v4 = flow.dialled.address.is_v4();
    Attempt attempt{.fd = datapath::Fd(
                        ::socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))};
    if (!attempt.fd) attempt.error = errno;
    if (!attempt.fd) return attempt;
    const int fd = attempt.fd.get();
    // Whatever the peers sent in one segment should leave in one, at once: Nagle was the sender's decision to
    // make.
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);
    // The handshake's last ACK goes out with the client's first bytes, which are at hand: one packet less.
    // When the server is to speak first there are none, and it would wait for that ACK.
    if (flow.protocol != policy::Protocol::server_first && flow.protocol != policy::Protocol::unknown)
        set_option(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
    // By this the rules know that it is not a client of the gateway's own (capture.h).
    if (config.capture.local)
        set_option(fd, is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, 1);
    if (source == UpstreamSource::client) {
        attempt.error = bind_to_client(fd, flow.source, port);
        if (attempt.error != 0) return attempt;
    }
    attempt.has_source_of_client = source == UpstreamSource::client && port == SourcePort::of_the_client;
    if (packet && (!attempt.has_source_of_client || flow.is_pinned())) packet->announce(flow, fd);
    SocketAddress destination(flow.dialled);
    attempt.error = ::connect(fd, destination.get(), destination.length) == 0 ? 0 : errno;
    return attempt;
}

int pending_error(const Socket& socket) {
    int error = 0;
    socklen_t length = sizeof error;
    ::getsockopt(socket.native(), SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
}

bool port_is_taken(int error) {
    return error == EADDRINUSE || error == EADDRNOTAVAIL;
}

}  // namespace

asio::awaitable<std::expected<SocketPtr, flow_end>> connect_upstream(Flow& flow, Socket& downstream,
                                                                     Patience& patience, Worker& worker) {
    flow.state = FLOW_STATE_connecting;
    if (!worker.take_descriptor(flow)) co_return std::unexpected(FLOW_END_descriptor_limit);
    const Config& config = worker.config();
    PacketMode* packet = worker.splices_packets(flow) ? worker.packet() : nullptr;
    Attempt attempt = start_connecting(flow, config, SourcePort::of_the_client, packet);
    if (port_is_taken(attempt.error)) {
        attempt = start_connecting(flow, config, SourcePort::any, packet);
    }
    if (attempt.error != 0 && attempt.error != EINPROGRESS) co_return std::unexpected(why_not(attempt.error));

    flow.upstream_source = attempt.has_source_of_client ? flow.source : local_endpoint(attempt.fd.get());
    auto socket = std::make_unique<Socket>(worker.reactor(), std::move(attempt.fd));
    patience.last_until(Clock::now() + config.connect_timeout);
    const bool answered = co_await patience.writable_or_failed(*socket, downstream);
    if (patience.ended()) co_return std::unexpected(patience.ended_by());
    if (downstream.failed) co_return std::unexpected(FLOW_END_client_gone);
    if (!answered) co_return std::unexpected(FLOW_END_upstream_timeout);
    if (socket->failed) co_return std::unexpected(why_not(pending_error(*socket)));
    flow.times.connected = Clock::now();
    co_return std::move(socket);
}

}  // namespace sluice::agent
