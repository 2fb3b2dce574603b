#pragma once
// Which protocol a client speaks, told by its first bytes. Pure.
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "policy/facts.h"

namespace sluice::agent {

// The protocol, or nothing when more bytes are needed to tell (each is the start of several). TLS is answered
// by the first byte; whether a ClientHello follows is tls::parse_client_hello's to say.
// `bytes` is not empty. `malformed`: another TLS record where a handshake must begin.
std::optional<policy::Protocol> classify_first_bytes(std::span<const std::uint8_t> bytes);

inline constexpr std::size_t ssh_version_bytes_max = 255;  // RFC 4253 4.2, with CR and LF

// "2.0-OpenSSH_9.2p1" of "SSH-2.0-OpenSSH_9.2p1\r\n"; of a line longer than allowed, its begin. Nothing when
// the line's end has not come yet. REQUIRES bytes that were classified as SSH.
std::optional<std::string> read_ssh_version(std::span<const std::uint8_t> bytes);

}  // namespace sluice::agent
