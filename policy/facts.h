#pragma once
// What is known of a flow when it is judged.
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "policy/address.h"
#include "policy/list_set.h"
#include "policy/mac_address.h"
#include "policy/protocol.h"

namespace sluice::policy {

// What a ClientHello says of Encrypted ClientHello. `grease`: an outer form that cannot be told from GREASE.
// `outer`: the server name seen is a provider's public name, the true one is hidden.
enum class Ech : std::uint8_t { none, grease, outer };
inline constexpr std::array<std::string_view, 3> ech_words{"none", "grease", "outer"};
constexpr std::string_view to_string(Ech ech) {
    return ech_words[static_cast<std::size_t>(ech)];
}

// How a flow came to the gateway.
enum class Via : std::uint8_t { captured, connect, socks5 };
inline constexpr std::array<std::string_view, 3> via_words{"captured", "connect", "socks5"};
constexpr std::string_view to_string(Via via) {
    return via_words[static_cast<std::size_t>(via)];
}

// A silent client's flow is judged before its server has spoken, and the protocol is still open. One that
// begins in the clear may turn to TLS, and then it has a name, and all that a ClientHello tells.
enum class ToCome : std::uint8_t { nothing, greeting, hello };
inline constexpr std::array<std::string_view, 3> to_come_words{"nothing", "greeting", "hello"};
constexpr std::string_view to_string(ToCome to_come) {
    return to_come_words[static_cast<std::size_t>(to_come)];
}

// Owns no text. What a protocol does not have is empty, and then matches no pattern.
struct Facts {
    Endpoint source;
    Endpoint destination;  // the original one, as the client dialled it
    Protocol protocol = Protocol::other;
    std::string_view server_name;           // lower case, no trailing dot; empty: none, or an IP literal
    Protocol began_as = Protocol::tls;      // when `malformed`: what it claimed to be
    Ech ech = Ech::none;                    // of TLS
    std::span<const std::string> alpn{};    // of TLS: what the client offers
    std::string_view ja4{};                 // of TLS
    std::string_view ssh_version{};         // of an SSH client: "2.0-OpenSSH_9.2p1", without the "SSH-"
    std::string_view ssh_server_version{};  // of an SSH server that spoke first
    bool has_started_tls = false;           // after a beginning in the clear: there is a ClientHello
    bool client_was_silent = false;         // the server spoke first, or nobody has yet
    ToCome to_come = ToCome::nothing;       // what else may be known later
    Via via = Via::captured;
    std::optional<MacAddress> mac{};  // of the client, when it is a neighbour that the kernel knows
    // What a client of the proxy asked for by name; like server_name, which it is when the flow has no other.
    std::string_view asked_name{};
    std::chrono::sys_seconds time{};  // now
    ListSet lists{};                  // that know the server name: Policy::complete() fills them in

    bool has_hello() const { return protocol == Protocol::tls || (has_started_tls && !is_malformed()); }
    bool is_malformed() const { return protocol == Protocol::malformed; }
    bool is_uncategorized() const { return !is_malformed() && !server_name.empty() && lists.empty(); }
    Protocol claimed_protocol() const { return is_malformed() ? began_as : protocol; }
};

}  // namespace sluice::policy
