#pragma once
// The head of an HTTP CONNECT request (RFC 9110 9.3.6, RFC 9112 3.2.3). Pure.
//
//     CONNECT host:port HTTP/1.1 CRLF
//     field: value CRLF ...
//     CRLF
//
// What comes behind is not the proxy's. No field means anything here but those that would announce a body,
// which a CONNECT has not: its bytes would be the tunnel's to one reader and not to another.
#include <cstdint>
#include <span>

#include "userspace/agent/proxy_target.h"

namespace sluice::agent {

inline constexpr std::size_t connect_head_bytes_max = 8192;

struct ConnectRequest {
    enum class Status : std::uint8_t {
        incomplete,  // no mistake so far
        complete,
        refused,  // `http_status` says why
    };
    Status status = Status::incomplete;
    ProxyTarget target;     // when complete
    std::size_t bytes = 0;  // of the head, when complete
    std::uint16_t http_status = 0;
};

ConnectRequest parse_connect_request(std::span<const std::uint8_t> bytes);

}  // namespace sluice::agent
