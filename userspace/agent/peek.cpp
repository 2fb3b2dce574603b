#include "userspace/agent/peek.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "userspace/agent/first_bytes.h"
#include "userspace/agent/http_request.h"
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
    if (policy::may_start_tls(what)) opening.to_come = policy::ToCome::hello;
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

// The same for the head of an HTTP request.
std::optional<Opening> from_request(HttpRequest request) {
    if (request.status == HttpRequest::Status::incomplete) return std::nullopt;
    if (request.status == HttpRequest::Status::malformed) {
        Opening opening = trouble(FLOW_END_hello_malformed, {});
        opening.began_as = policy::Protocol::http;
        opening.hello.why = request.why;
        return opening;
    }
    Opening opening = protocol(policy::Protocol::http);
    opening.host = std::move(request.host);
    return opening;
}

std::optional<Opening> from_ssh_version(std::optional<std::string> version) {
    if (!version) return std::nullopt;
    Opening opening = protocol(policy::Protocol::ssh);
    opening.ssh_version = std::move(*version);
    return opening;
}

// What the bytes so far amount to; nothing when more are needed, and then `bytes_needed` says how many.
std::optional<Opening> read_opening(Bytes bytes, const PeekLimits& limits, std::size_t& bytes_needed) {
    bytes_needed = bytes.size() + 1;
    const auto kind = classify_first_bytes(bytes);
    if (!kind) return std::nullopt;
    if (*kind == policy::Protocol::malformed) return trouble(FLOW_END_hello_malformed, {});
    if (*kind == policy::Protocol::http) return from_request(parse_http_request(bytes));
    if (*kind == policy::Protocol::ssh) return from_ssh_version(read_ssh_version(bytes));
    if (*kind != policy::Protocol::tls) return protocol(*kind);
    tls::ClientHello hello = tls::parse_client_hello(bytes);
    bytes_needed = std::max(bytes_needed, hello.bytes_needed);
    return from_hello(std::move(hello), limits);
}

// The client will say no more, or there is no room for more: what it has said must do.
Opening close_opening(Bytes bytes, const PeekLimits& limits) {
    if (bytes.empty()) {
        Opening opening = protocol(policy::Protocol::server_first);
        opening.silent = true;
        opening.to_come = policy::ToCome::greeting;
        return opening;
    }
    // Half a hello, or too little to tell TLS, HTTP or SSH by: whatever it would have become has rules of its
    // own.
    const auto kind = classify_first_bytes(bytes);
    const bool is_text = kind == policy::Protocol::http || kind == policy::Protocol::ssh;
    if (!is_text) return trouble(FLOW_END_hello_incomplete, tls::parse_client_hello(bytes));
    const bool full = bytes.size() >= limits.hello_bytes_max;
    Opening opening = trouble(full ? FLOW_END_hello_too_long : FLOW_END_hello_incomplete, {});
    opening.began_as = *kind;
    opening.hello.why =
        *kind == policy::Protocol::http ? "request head does not end" : "version does not end";
    return opening;
}

OpeningPtr kept(std::optional<Opening> opening) {
    return opening ? std::make_unique<Opening>(std::move(*opening)) : nullptr;
}

}  // namespace

std::optional<Opening> read_opening(Bytes bytes, const PeekLimits& limits) {
    std::size_t bytes_needed = 0;
    return read_opening(bytes, limits, bytes_needed);
}

asio::awaitable<OpeningPtr> peek(Socket& socket, Patience& patience, PeekLimits limits) {
    const auto began = Clock::now();
    patience.last_until(began + limits.silence);
    OpeningPtr opening;
    bool has_spoken = false;
    const Peeked peeked =
        co_await peek_until(socket, socket, patience, limits.hello_bytes_max, [&](Bytes bytes) {
            std::size_t bytes_needed = 0;
            opening = kept(read_opening(bytes, limits, bytes_needed));
            if (opening) return std::size_t{0};
            if (!std::exchange(has_spoken, true)) {
                patience.last_until(began + limits.hello_deadline);
                if (limits.incomplete) limits.incomplete();
            }
            return bytes_needed;
        });
    if (peeked.end == Peeked::End::failed) co_return kept(gone());
    if (!opening) opening = kept(close_opening(peeked.bytes, limits));
    co_return opening;
}

std::optional<Opening> read_second_hello(Bytes bytes, const PeekLimits& limits) {
    return from_hello(tls::parse_second_client_hello(bytes), limits);
}

namespace {

asio::awaitable<OpeningPtr> peek_only_hello(Socket& socket, Patience& patience, PeekLimits limits,
                                            tls::ClientHello (*parse)(Bytes)) {
    patience.last_until(Clock::now() + limits.hello_deadline);
    OpeningPtr opening;
    const Peeked peeked =
        co_await peek_until(socket, socket, patience, limits.hello_bytes_max, [&](Bytes bytes) {
            tls::ClientHello hello = parse(bytes);
            const std::size_t bytes_needed = std::max(hello.bytes_needed, bytes.size() + 1);
            opening = kept(from_hello(std::move(hello), limits));
            return opening ? 0 : bytes_needed;
        });
    if (peeked.end == Peeked::End::failed) co_return kept(gone());
    if (!opening) opening = kept(trouble(FLOW_END_hello_incomplete, {}));
    co_return opening;
}

}  // namespace

asio::awaitable<OpeningPtr> peek_hello(Socket& socket, Patience& patience, PeekLimits limits) {
    return peek_only_hello(socket, patience, std::move(limits), tls::parse_client_hello);
}

asio::awaitable<OpeningPtr> peek_second_hello(Socket& socket, Patience& patience, PeekLimits limits) {
    return peek_only_hello(socket, patience, std::move(limits), tls::parse_second_client_hello);
}

}  // namespace sluice::agent
