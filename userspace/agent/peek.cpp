#include "userspace/agent/peek.h"

#include <sys/socket.h>

#include <cerrno>
#include <span>
#include <utility>

#include "userspace/agent/first_bytes.h"

namespace sluice::agent {
namespace {

// One buffer per worker thread: filled and read between two waits, never across one.
std::span<std::uint8_t> scratch(std::size_t bytes) {
    thread_local std::vector<std::uint8_t> buffer;
    if (buffer.size() < bytes) buffer.resize(bytes);
    return {buffer.data(), bytes};
}

struct Look {
    std::span<const std::uint8_t> bytes;
    bool failed = false;  // RST, or a time-out of the connection
};

Look look(Socket& socket, std::size_t bytes_max) {
    socket.readable = false;  // the next edge is about bytes that this look does not see
    const auto buffer = scratch(bytes_max);
    const ssize_t n = ::recv(socket.native(), buffer.data(), buffer.size(), MSG_PEEK | MSG_DONTWAIT);
    if (n >= 0) return {.bytes = buffer.first(static_cast<std::size_t>(n))};
    return {.bytes = {}, .failed = errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR};
}

// Sleep until this much is there. Without it, waiting on a socket with unread bytes returns at once, for
// ever. It also widens the receive window, so that a hello longer than the initial one can arrive
// (tcp_set_rcvlowat).
void wake_at(const Socket& socket, std::size_t bytes) {
    set_option(socket.native(), SOL_SOCKET, SO_RCVLOWAT, static_cast<int>(bytes));
}

Opening trouble(flow_end what, tls::ClientHello hello) {
    Opening opening;
    opening.protocol = policy::Protocol::malformed;
    opening.hello = std::move(hello);
    opening.trouble = what;
    return opening;
}

Opening protocol(policy::Protocol what) {
    Opening opening;
    opening.protocol = what;
    return opening;
}

// What the bytes so far amount to; nothing when more are needed, and then `bytes_needed` says how many.
std::optional<Opening> read_opening(std::span<const std::uint8_t> bytes, const PeekLimits& limits,
                                    std::size_t& bytes_needed) {
    bytes_needed = bytes.size() + 1;
    if (bytes.empty()) return std::nullopt;
    const auto kind = classify_first_bytes(bytes);
    if (!kind) return std::nullopt;
    if (*kind != policy::Protocol::tls) return protocol(*kind);

    tls::ClientHello hello = tls::parse_client_hello(bytes);
    switch (hello.status) {
        case tls::HelloStatus::not_tls:
            return protocol(policy::Protocol::other);
        case tls::HelloStatus::malformed:
            return trouble(FLOW_END_hello_malformed, std::move(hello));
        case tls::HelloStatus::incomplete:
            bytes_needed = std::max(bytes_needed, hello.bytes_needed);
            if (bytes_needed > limits.hello_bytes_max)
                return trouble(FLOW_END_hello_too_long, std::move(hello));
            return std::nullopt;
        case tls::HelloStatus::found:
        case tls::HelloStatus::no_server_name:
            break;
    }
    Opening opening = protocol(policy::Protocol::tls);
    opening.hello = std::move(hello);
    return opening;
}

// A wake-up that brings nothing is the kernel out of room for this socket, or an accident; not for ever.
constexpr int fruitless_wakes_max = 8;

// The client will say no more: what it has said must do.
Opening close_opening(std::span<const std::uint8_t> bytes) {
    if (bytes.empty()) {
        Opening opening = protocol(policy::Protocol::server_first);
        opening.silent = true;
        return opening;
    }
    if (classify_first_bytes(bytes) != policy::Protocol::tls) return protocol(policy::Protocol::other);
    return trouble(FLOW_END_hello_incomplete, tls::parse_client_hello(bytes));
}

}  // namespace

asio::awaitable<Opening> peek(Socket& socket, Patience& patience, PeekLimits limits) {
    const auto began = Clock::now();
    patience.last_until(began + limits.silence);
    std::size_t bytes_needed = 1;
    int fruitless_wakes = 0;
    bool is_tls = false;
    bool raised = false;
    Look seen = look(socket, limits.hello_bytes_max);
    while (!seen.failed) {
        if (!seen.bytes.empty()) {
            if (auto opening = read_opening(seen.bytes, limits, bytes_needed)) {
                if (raised) wake_at(socket, 1);
                co_return std::move(*opening);
            }
            const bool now_tls = classify_first_bytes(seen.bytes) == policy::Protocol::tls;
            if (now_tls && !std::exchange(is_tls, true)) patience.last_until(began + limits.hello_deadline);
            wake_at(socket, bytes_needed);
            raised = true;
        }
        const std::size_t bytes_before = seen.bytes.size();
        const bool waited = co_await patience.readable(socket);
        seen = look(socket, limits.hello_bytes_max);
        if (seen.failed || socket.failed) break;
        // Woken with fewer bytes than asked for: the client finished, or the kernel has no room for more.
        if (seen.bytes.size() == bytes_before) ++fruitless_wakes;
        if (!waited || socket.hung_up || fruitless_wakes > fruitless_wakes_max) {
            auto opening = read_opening(seen.bytes, limits, bytes_needed);
            wake_at(socket, 1);
            co_return opening ? std::move(*opening) : close_opening(seen.bytes);
        }
    }
    Opening opening;
    opening.gone = true;
    co_return opening;
}

}  // namespace sluice::agent
