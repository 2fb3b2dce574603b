#include "userspace/agent/refuse.h"

#include <sys/socket.h>

#include <array>

namespace sluice::agent {
namespace {

// RFC 8446 5.1 and 6: a plaintext alert record, version as of TLS 1.2; fatal (2), access_denied (49).
constexpr std::array<unsigned char, 7> access_denied_alert = {0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x31};

// How long a refused client may take to finish, once it has been told. Then it gets an RST.
constexpr std::chrono::seconds linger_time{1};

bool is_denial(flow_end why) {
    return why == FLOW_END_denied || why == FLOW_END_hello_malformed || why == FLOW_END_hello_incomplete ||
           why == FLOW_END_hello_too_long;
}

// A refused client's input is read for this long and no further.
constexpr std::size_t discarded_bytes_max = 256 * 1024;

// Throws away what the client has sent. False: it has finished, it is gone, or it has had its `allowance`.
bool discard_input(const Socket& socket, std::size_t& allowance) {
    std::array<char, 16 * 1024> buffer;
    for (;;) {
        const ssize_t n = ::recv(socket.native(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (n <= 0) return n < 0 && errno == EAGAIN;
        if (static_cast<std::size_t>(n) >= allowance) return false;
        allowance -= static_cast<std::size_t>(n);
    }
}

// FIN now, and an orderly end: closing with unread bytes would send RST, and take an alert still in flight
// with it.
asio::awaitable<void> close_gently(Socket& socket, Patience& patience) {
    std::size_t allowance = discarded_bytes_max;
    const bool client_goes_on = discard_input(socket, allowance);
    ::shutdown(socket.native(), SHUT_WR);
    if (!client_goes_on) co_return socket.close();
    patience.last_until(Clock::now() + linger_time);
    while (co_await patience.readable(socket)) {
        socket.readable = false;
        if (!discard_input(socket, allowance)) co_return socket.close();
    }
    socket.reset();
}

policy::DenyStyle style_of(const Flow& flow, flow_end why) {
    return is_denial(why) ? flow.outcome.style : policy::DenyStyle::reset;
}

}  // namespace

bool is_silent(const Flow& flow, flow_end why) {
    return style_of(flow, why) == policy::DenyStyle::drop;
}

asio::awaitable<void> refuse(Socket& downstream, const Flow& flow, flow_end why, Patience& patience) {
    const auto style = style_of(flow, why);
    if (flow.proxied && !flow.proxied->answered && style != policy::DenyStyle::drop && !patience.ended()) {
        const std::string text = proxy_refusal(*flow.proxied, why);
        if (text.empty()) co_return downstream.reset();
        ::send(downstream.native(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        co_return co_await close_gently(downstream, patience);
    }
    const bool speaks_tls =
        flow.protocol == policy::Protocol::tls || flow.has_started_tls ||
        (flow.protocol == policy::Protocol::malformed && flow.began_as == policy::Protocol::tls);
    switch (style) {
        case policy::DenyStyle::drop:
            downstream.vanish();
            co_return;
        case policy::DenyStyle::alert:
            if (!speaks_tls) break;
            ::send(downstream.native(), access_denied_alert.data(), access_denied_alert.size(), MSG_NOSIGNAL);
            co_return co_await close_gently(downstream, patience);
        case policy::DenyStyle::close:
            co_return co_await close_gently(downstream, patience);
        case policy::DenyStyle::reset:
            break;
    }
    downstream.reset();
}

}  // namespace sluice::agent
