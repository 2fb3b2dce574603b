#pragma once
// Which protocol a client speaks, told by its first bytes. Pure.
#include <cstdint>
#include <optional>
#include <span>

#include "policy/rule.h"

namespace sluice::agent {

// The protocol, or nothing when more bytes are needed to tell (each is the start of several). TLS is answered
// by the first byte; whether a ClientHello follows is tls::parse_client_hello's to say.
// `bytes` is not empty. `malformed`: another TLS record where a handshake must begin.
std::optional<policy::Protocol> classify_first_bytes(std::span<const std::uint8_t> bytes);

}  // namespace sluice::agent
