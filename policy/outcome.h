#pragma once
// What becomes of a flow.
#include <array>
#include <cstdint>
#include <string_view>

namespace sluice::policy {

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

// What becomes of live flows when another policy takes the place of the one that let them in.
enum class OnReload : std::uint8_t {
    keep,         // they go on
    re_evaluate,  // those that the new policy denies are ended
    kill,         // all are ended
};
inline constexpr std::array<std::string_view, 3> on_reload_words{"keep", "re-evaluate", "kill"};
constexpr std::string_view to_string(OnReload on_reload) {
    return on_reload_words[static_cast<std::size_t>(on_reload)];
}

// How far a server name is believed, which is no more than what the client says: of flows that are allowed.
enum class Verify : std::uint8_t {
    off,
    log,      // the log says whether the client dialled an address of that name
    pin,      // an address of that name is dialled, whatever the client did
    enforce,  // a flow to any other address is refused
};
inline constexpr std::array<std::string_view, 4> verify_words{"off", "log", "pin", "enforce"};
constexpr std::string_view to_string(Verify verify) {
    return verify_words[static_cast<std::size_t>(verify)];
}

struct Outcome {
    Action action = Action::deny;
    DenyStyle style = DenyStyle::reset;
    bool log = true;
    Verify verify = Verify::off;  // with `allow` only
};

struct Verdict {
    Outcome outcome;
    std::string_view rule;  // the rule's name, or "default" or "malformed"
    // The row of a profile with `enforce: false` that would have denied this flow, which passes.
    std::string_view would_deny{};
    // Of the list by which the rule matched, if it asks for lists or categories; else empty.
    std::string_view list{};
    std::string_view category{};
    bool allowed() const { return outcome.action == Action::allow; }
};

}  // namespace sluice::policy
