#pragma once
// The beginning in the clear of protocols that may turn to TLS (policy::may_start_tls): which of a client's
// commands lead there, and what a server answers. Pure.
//
// Commands and replies take turns: who begins is asked for the next one only when the last was answered. So
// bytes that come too early, to be taken for what was said inside TLS, are seen for what they are.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "policy/protocol.h"

namespace sluice::agent {

// A longer command does not lead to TLS, and a longer reply is not waited for.
inline constexpr std::size_t command_bytes_max = 1024;
inline constexpr std::size_t reply_bytes_max = 16 * 1024;

struct Command {
    enum class Kind : std::uint8_t {
        incomplete,
        harmless,    // EHLO, CAPABILITY, NOOP and the like: TLS may still be asked for
        starts_tls,  // if the server agrees
        other,       // no: from here on the protocol runs in the clear
    };
    Kind kind = Kind::incomplete;
    std::size_t bytes = 0;  // its length, unless incomplete
    std::string tag;        // of IMAP
    bool has_list = false;  // its reply, if good, goes on to a line with a dot: POP3's CAPA
};

// REQUIRES a protocol that may start TLS.
Command read_command(policy::Protocol protocol, std::span<const std::uint8_t> bytes);

struct Reply {
    enum class Kind : std::uint8_t { incomplete, complete, agrees };
    Kind kind = Kind::incomplete;
    std::size_t bytes = 0;  // its length, unless incomplete
};

// To this command; `agrees` only to one that starts TLS.
Reply read_reply(policy::Protocol protocol, const Command& command, std::span<const std::uint8_t> bytes);
// What a server says before any command; PostgreSQL's says nothing.
Reply read_greeting(policy::Protocol protocol, std::span<const std::uint8_t> bytes);

}  // namespace sluice::agent
