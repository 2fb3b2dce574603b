#pragma once
// The first bytes of a TLS server, as far as a gateway must know them: does the server accept the
// ClientHello, or does it ask for a second one, which it will believe instead (RFC 8446 4.1.4)? Pure.
#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::tls {

enum class ServerAnswer : std::uint8_t {
    incomplete,           // ask again with at least `bytes_needed` bytes
    hello_retry_request,  // whole; a second ClientHello will follow. Also what is meant to hide one
    other,                // a ServerHello, a fatal alert, or not TLS at all: the first ClientHello stands
};

struct ServerHello {
    ServerAnswer answer = ServerAnswer::incomplete;
    std::size_t bytes_needed = 0;
    std::size_t bytes = 0;  // of a hello_retry_request: where it ends in the stream, record headers included
};

// `stream`: everything the server has said so far. A HelloRetryRequest is a server_hello whose random is the
// SHA-256 of "HelloRetryRequest" (RFC 8446 4.1.3); it may be cut into records anywhere. Warnings and
// change_cipher_spec may come before it, a few of each, and answer nothing.
ServerHello parse_server_hello(std::span<const std::uint8_t> stream);

}  // namespace sluice::tls
