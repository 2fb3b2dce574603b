#include "userspace/agent/peek.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "userspace/agent/first_bytes.h"
#include "userspace/agent/peek_until.h"

namespace sluice::agent {
namespace {

using Bytes = std::span<const std::uint8_t>;

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

Opening gone() {
    Opening opening;
    opening.gone = true;
    return opening;
}

// What a parsed hello amounts to; nothing when its rest must be waited for.
std::optional<Opening> from_hello(tls::ClientHello hello, const PeekLimits& limits) {
    switch (hello.status) {
        case tls::HelloStatus::not_tls:  // though its first byte is a handshake's: some server may take it
                                         // for one
        case tls::HelloStatus::malformed:
            return trouble(FLOW_END_hello_malformed, std::move(hello));
        case tls::HelloStatus::incomplete:
            if (hello.bytes_needed <= limits.hello_bytes_max) return std::nullopt;
            return trouble(FLOW_END_hello_too_long, std::move(hello));
        case tls::HelloStatus::found:
        case tls::HelloStatus::no_server_name:
            break;
    }
    Opening opening = protocol(policy::Protocol::tls);
    opening.hello = std::move(hello);
    return opening;
}

// What the bytes so far amount to; nothing when more are needed, and then `bytes_needed` says how many.
std::optional<Opening> read_opening(Bytes bytes, const PeekLimits& limits, std::size_t& bytes_needed) {
    bytes_needed = bytes.size() + 1;
    const auto kind = classify_first_bytes(bytes);
    if (!kind) return std::nullopt;
    if (*kind == policy::Protocol::malformed) return trouble(FLOW_END_hello_malformed, {});
    if (*kind != policy::Protocol::tls) return protocol(*kind);
    tls::ClientHello hello = tls::parse_client_hello(bytes);
    bytes_needed = std::max(bytes_needed, hello.bytes_needed);
    return from_hello(std::move(hello), limits);
}

// The client will say no more: what it has said must do.
Opening close_opening(Bytes bytes) {
    if (bytes.empty()) {
        Opening opening = protocol(policy::Protocol::server_first);
        opening.silent = true;
        return opening;
    }
    // Half a hello, or too little to tell TLS, HTTP or SSH by: whatever it would have become has rules of its
    // own.
    return trouble(FLOW_END_hello_incomplete, tls::parse_client_hello(bytes));
}

}  // namespace

asio::awaitable<Opening> peek(Socket& socket, Patience& patience, PeekLimits limits) {
    const auto began = Clock::now();
    patience.last_until(began + limits.silence);
    std::optional<Opening> opening;
    bool has_spoken = false;
    const Peeked peeked =
        co_await peek_until(socket, socket, patience, limits.hello_bytes_max, [&](Bytes bytes) {
            std::size_t bytes_needed = 0;
            opening = read_opening(bytes, limits, bytes_needed);
            if (opening) return std::size_t{0};
            if (!std::exchange(has_spoken, true)) {
                patience.last_until(began + limits.hello_deadline);
                if (limits.incomplete) limits.incomplete();
            }
            return bytes_needed;
        });
    if (peeked.end == Peeked::End::failed) co_return gone();
    co_return opening ? std::move(*opening) : close_opening(peeked.bytes);
}

asio::awaitable<Opening> peek_second_hello(Socket& socket, Patience& patience, PeekLimits limits) {
    patience.last_until(Clock::now() + limits.hello_deadline);
    std::optional<Opening> opening;
    const Peeked peeked =
        co_await peek_until(socket, socket, patience, limits.hello_bytes_max, [&](Bytes bytes) {
            tls::ClientHello hello = tls::parse_second_client_hello(bytes);
            const std::size_t bytes_needed = std::max(hello.bytes_needed, bytes.size() + 1);
            opening = from_hello(std::move(hello), limits);
            return opening ? 0 : bytes_needed;
        });
    if (peeked.end == Peeked::End::failed) co_return gone();
    co_return opening ? std::move(*opening) : trouble(FLOW_END_hello_incomplete, {});
}

}  // namespace sluice::agent
