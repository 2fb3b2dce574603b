#pragma once
// One rule: conditions over facts, and an outcome.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/address.h"
#include "policy/name_pattern.h"

namespace sluice::policy {

// What the first bytes said the flow is. `server_first`: the client stayed silent. `other`: it said something
// that is none of the rest. `malformed`: it began a TLS handshake that cannot be understood; not a rule's
// condition.
enum class Protocol : std::uint8_t { tls, http, ssh, server_first, other, malformed };
inline constexpr std::array<std::string_view, 6> protocol_words{"tls",          "http",  "ssh",
                                                                "server-first", "other", "malformed"};
constexpr std::string_view to_string(Protocol protocol) {
    return protocol_words[static_cast<std::size_t>(protocol)];
}

// All that is known of a flow when it is judged. `server_name` is empty when there is none (or an IP
// literal): a rule with a server_name condition then never matches.
struct Facts {
    Endpoint source;
    Endpoint destination;  // the original one, as the client dialled it
    Protocol protocol = Protocol::other;
    std::string_view server_name;  // lower case, no trailing dot
};

enum class Action : std::uint8_t { allow, deny };
inline constexpr std::array<std::string_view, 2> action_words{"allow", "deny"};
constexpr std::string_view to_string(Action action) {
    return action_words[static_cast<std::size_t>(action)];
}

enum class DenyStyle : std::uint8_t {
    reset,  // TCP RST
    drop,   // the client hears nothing
    alert,  // TLS alert access_denied, then FIN; RST when the flow is not TLS
    close,  // FIN
};
inline constexpr std::array<std::string_view, 4> deny_style_words{"reset", "drop", "alert", "close"};
constexpr std::string_view to_string(DenyStyle style) {
    return deny_style_words[static_cast<std::size_t>(style)];
}

struct Outcome {
    Action action = Action::deny;
    DenyStyle style = DenyStyle::reset;
    bool log = true;
};

struct Verdict {
    Outcome outcome;
    std::string_view rule;  // the rule's name, or "default" or "malformed"
    bool allowed() const { return outcome.action == Action::allow; }
};

// A rule's conditions, in the order in which they are looked at; the words are the file's keys.
enum class Condition : std::uint8_t { source, destination, port, protocol, server_name };
inline constexpr std::array<std::string_view, 5> condition_words{"source", "destination", "port", "protocol",
                                                                 "server_name"};
constexpr std::string_view to_string(Condition condition) {
    return condition_words[static_cast<std::size_t>(condition)];
}

// A condition that is empty holds for every flow. Within one condition any entry suffices; all conditions
// must hold. A malformed flow began as TLS, so `protocol: tls` holds for it; its name is not to be trusted,
// so no server_name does.
struct Rule {
    std::string name;
    std::vector<Cidr> sources;
    std::vector<Cidr> destinations;
    std::vector<PortRange> ports;  // of the original destination
    std::vector<Protocol> protocols;
    std::vector<NamePattern> server_names;
    Outcome outcome;
    int line = 0;  // in the file it was read from, 1-based
    int column = 0;

    std::optional<Condition> unmet(const Facts& facts) const;  // the first condition that does not hold
    bool matches(const Facts& facts) const { return !unmet(facts); }
};

}  // namespace sluice::policy
