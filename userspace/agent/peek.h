#pragma once
// Waits for a client's first bytes and looks at them without consuming any: whoever splices the flow finds
// them still in the socket.
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bpf/flow_abi.h"
#include "policy/facts.h"
#include "userspace/agent/patience.h"
#include "userspace/agent/socket.h"
#include "userspace/tls/client_hello.h"

namespace sluice::agent {

struct PeekLimits {
    std::uint32_t hello_bytes_max;
    std::chrono::milliseconds hello_deadline;  // for a whole ClientHello, from the first look
    std::chrono::milliseconds silence{};       // without a byte: the server is expected to speak first
    std::function<void()> incomplete{};  // called once if more bytes must come: they may wait for an ACK
};

struct Opening {
    policy::Protocol protocol = policy::Protocol::other;
    bool silent = false;  // of the client's, not one byte
    bool has_started_tls = false;
    policy::ToCome to_come = policy::ToCome::nothing;
    bool gone = false;        // the client reset the connection
    tls::ClientHello hello;   // when it was TLS
    std::string host;         // when it was HTTP: the name in the request, canonical, empty if there is none
    std::string ssh_version;  // when it was SSH
    std::string ssh_server_version;                     // when it was SSH and the client silent
    policy::Protocol began_as = policy::Protocol::tls;  // when it is malformed
    // hello_malformed, hello_incomplete or hello_too_long: then the protocol is `malformed`.
    flow_end trouble = FLOW_END_live;
};

// Never null. On the heap, since a client that is silent costs what its coroutines' frames have room for.
using OpeningPtr = std::unique_ptr<Opening>;

asio::awaitable<OpeningPtr> peek(Socket& socket, Patience& patience, PeekLimits limits);

// The same of bytes that were seen elsewhere; nothing when more are needed.
std::optional<Opening> read_opening(std::span<const std::uint8_t> bytes, const PeekLimits& limits);

// The same where nothing but TLS is expected, and silence is too late: after a beginning in the clear.
asio::awaitable<OpeningPtr> peek_hello(Socket& socket, Patience& patience, PeekLimits limits);

// The same for the hello that follows a HelloRetryRequest.
asio::awaitable<OpeningPtr> peek_second_hello(Socket& socket, Patience& patience, PeekLimits limits);

// The same of bytes that were seen elsewhere; nothing when more are needed. At most limits.hello_bytes_max.
std::optional<Opening> read_second_hello(std::span<const std::uint8_t> bytes, const PeekLimits& limits);

}  // namespace sluice::agent
