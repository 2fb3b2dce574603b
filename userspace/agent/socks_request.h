#pragma once
// SOCKS5 (RFC 1928), as much of it as a client needs that wants a TCP connection and has no password. Pure.
//
//     client:  05  n  method * n                             greeting
//     proxy:   05  00                                        no authentication; FF: none that suits
//     client:  05  command  00  type  address  port          request; type 1: IPv4, 3: length and name, 4:
//     IPv6 proxy:   05  reply  00  01  0.0.0.0  0
#include <cstdint>
#include <span>

#include "userspace/agent/proxy_target.h"

namespace sluice::agent {

inline constexpr std::uint8_t socks_version = 5;

// RFC 1928 6.
enum class SocksReply : std::uint8_t {
    succeeded = 0,
    general_failure = 1,
    not_allowed = 2,
    network_unreachable = 3,
    host_unreachable = 4,
    connection_refused = 5,
    ttl_expired = 6,
    command_not_supported = 7,
    address_type_not_supported = 8,
};

enum class SocksStatus : std::uint8_t {
    incomplete,  // no mistake so far; `bytes`: the least length at which more can be said
    complete,    // `bytes`: of the message
    refused,
};

struct SocksGreeting {
    SocksStatus status = SocksStatus::incomplete;
    std::size_t bytes = 0;
    bool no_authentication = false;  // is among the methods
};
SocksGreeting parse_socks_greeting(std::span<const std::uint8_t> bytes);

struct SocksRequest {
    SocksStatus status = SocksStatus::incomplete;
    std::size_t bytes = 0;
    ProxyTarget target;
    SocksReply reply = SocksReply::succeeded;  // when refused: why
};
SocksRequest parse_socks_request(std::span<const std::uint8_t> bytes);

}  // namespace sluice::agent
