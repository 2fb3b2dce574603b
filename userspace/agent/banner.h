#pragma once
// What a server's greeting says that it speaks. Pure.
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "policy/protocol.h"

namespace sluice::agent {

// Longer ones are judged by what is in here.
inline constexpr std::size_t banner_bytes_max = 512;

struct Banner {
    policy::Protocol protocol = policy::Protocol::server_first;  // none that is known
    std::string ssh_version;  // of SSH: "2.0-OpenSSH_9.2p1" of "SSH-2.0-OpenSSH_9.2p1\r\n"; any bytes
};

// Nothing: more bytes could tell. With `is_all`, or banner_bytes_max bytes, there is always an answer. SMTP
// and FTP greet alike: the words of the greeting tell, and where these say nothing or both, the server's
// port.
std::optional<Banner> read_banner(std::span<const std::uint8_t> bytes, std::uint16_t port, bool is_all);

}  // namespace sluice::agent
