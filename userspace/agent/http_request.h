#pragma once
// The head of an HTTP/1 request, as far as it says for which host it is. Pure.
//
// Whoever judges by the name must read it as every server would: what servers read differently (RFC 9112 3.2,
// 5.1, 5.2) is malformed, not guessed at.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sluice::agent {

struct HttpRequest {
    enum class Status : std::uint8_t {
        complete,    // the whole head
        incomplete,  // every byte so far fits a head
        malformed,   // two hosts, a folded line, no version, ...
    };
    Status status = Status::incomplete;
    std::string host;      // canonical; empty: none, or an IP literal. A port is left out
    std::string_view why;  // with `malformed`: what is wrong, a static text
};

// `bytes`: everything so far, from the first byte of the stream. HTTP/2 with prior knowledge ("PRI *
// HTTP/2.0") is complete and has no host: it stands in compressed headers.
HttpRequest parse_http_request(std::span<const std::uint8_t> bytes);

}  // namespace sluice::agent
