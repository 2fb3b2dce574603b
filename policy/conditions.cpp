#include "policy/conditions.h"

#include <algorithm>
#include <ranges>

namespace sluice::policy {
namespace {

bool offers_alpn(const std::vector<std::string>& wanted, const Facts& facts) {
    return std::ranges::any_of(wanted, [&](const std::string& id) {
        return id == no_alpn ? facts.alpn.empty() : std::ranges::find(facts.alpn, id) != facts.alpn.end();
    });
}

bool has_protocol(const std::vector<Protocol>& wanted, Protocol protocol) {
    return std::ranges::find(wanted, protocol) != wanted.end();
}

bool is_of_hello(Condition condition) {
    constexpr std::array conditions{Condition::server_name, Condition::list, Condition::category,
                                    Condition::match,       Condition::ech,  Condition::alpn,
                                    Condition::ja4};
    return std::ranges::find(conditions, condition) != conditions.end();
}

bool has_address(const std::vector<std::shared_ptr<const AddressSet>>& sets, const IpAddress& address) {
    return std::ranges::any_of(sets, [&](const auto& set) { return set->contains(address); });
}

}  // namespace

bool Conditions::has(Condition condition) const {
    switch (condition) {
        case Condition::source:
            return !sources.empty();
        case Condition::mac:
            return !macs.empty();
        case Condition::destination:
            return !destinations.empty();
        case Condition::port:
            return !ports.empty();
        case Condition::protocol:
            return !protocols.empty();
        case Condition::via:
            return !vias.empty();
        case Condition::ech:
            return !ech.empty();
        case Condition::match:
            return uncategorized;
        case Condition::list:
            return !lists.empty();
        case Condition::category:
            return !categories.empty();
        case Condition::time:
            return !times.empty();
        case Condition::alpn:
            return !alpn.empty();
        case Condition::ja4:
            return !ja4.empty();
        case Condition::ssh_version:
            return !ssh_versions.empty();
        case Condition::ssh_server_version:
            return !ssh_server_versions.empty();
        case Condition::server_name:
            return asks_for_name();
        case Condition::any_of:
            return !any_of.empty();
        case Condition::none_of:
            return !none_of.empty();
    }
    return false;
}

bool Conditions::holds(Condition condition, const Facts& facts) const {
    const bool is_tls = facts.has_hello();
    switch (condition) {
        case Condition::source:
            return has_address(sources, facts.source.address);
        case Condition::mac:
            return facts.mac &&
                   std::ranges::any_of(macs, [&](const auto& set) { return set->contains(*facts.mac); });
        case Condition::destination:
            return has_address(destinations, facts.destination.address);
        case Condition::port:
            return std::ranges::any_of(ports,
                                       [&](auto range) { return range.contains(facts.destination.port); });
        case Condition::protocol:
            return has_protocol(protocols, facts.claimed_protocol()) ||
                   (facts.client_was_silent && has_protocol(protocols, Protocol::server_first));
        case Condition::via:
            return std::ranges::find(vias, facts.via) != vias.end();
        case Condition::ech:
            return is_tls && std::ranges::find(ech, facts.ech) != ech.end();
        case Condition::match:
            return facts.is_uncategorized();
        case Condition::list:
            return !facts.is_malformed() && !(facts.lists & lists.lists).empty();
        case Condition::category:
            return (!facts.is_malformed() && !(facts.lists & categories.lists).empty()) ||
                   (categories.uncategorized && facts.is_uncategorized());
        case Condition::time:
            return std::ranges::any_of(times,
                                       [&](const auto& window) { return window.contains(facts.time); });
        case Condition::alpn:
            return is_tls && offers_alpn(alpn, facts);
        case Condition::ja4:
            return is_tls && std::ranges::any_of(ja4, [&](const auto& p) { return p.matches(facts.ja4); });
        case Condition::ssh_version:
            return facts.protocol == Protocol::ssh && std::ranges::any_of(ssh_versions, [&](const auto& p) {
                       return p.matches(facts.ssh_version);
                   });
        case Condition::ssh_server_version:
            return facts.protocol == Protocol::ssh &&
                   std::ranges::any_of(ssh_server_versions,
                                       [&](const auto& p) { return p.matches(facts.ssh_server_version); });
        case Condition::server_name:
            if (facts.is_malformed()) return false;
            if (facts.server_name.empty()) return no_server_name;
            return std::ranges::any_of(server_names,
                                       [&](const auto& p) { return p->matches(facts.server_name); });
        case Condition::any_of:
            return std::ranges::any_of(any_of, [&](const Conditions& c) { return c.hold(facts); });
        case Condition::none_of:
            return std::ranges::none_of(none_of, [&](const Conditions& c) { return c.hold(facts); });
    }
    return false;
}

std::optional<Condition> Conditions::unmet(const Facts& facts) const {
    for (std::size_t i = 0; i < condition_words.size(); ++i) {
        auto condition = static_cast<Condition>(i);
        if (has(condition) && !holds(condition, facts)) return condition;
    }
    return std::nullopt;
}

bool Conditions::ask_for_start_of_tls() const {
    return std::ranges::any_of(protocols, policy::may_start_tls);
}

// Before the greeting a rule on names alone is no reason to reach for a server: its protocol must say so.
Truth Conditions::truth(Condition condition, const Facts& facts, bool may_start_tls) const {
    const auto of = [&](const Conditions& c) { return c.truth(facts, may_start_tls); };
    if (condition == Condition::any_of) return std::ranges::max(any_of | std::views::transform(of));
    if (condition == Condition::none_of) {
        const Truth worst = std::ranges::max(none_of | std::views::transform(of));
        return worst == Truth::maybe ? Truth::maybe : worst == Truth::yes ? Truth::no : Truth::yes;
    }
    const bool is_held = holds(condition, facts);
    if (facts.to_come == ToCome::nothing) return is_held ? Truth::yes : Truth::no;
    const bool greeting_is_open = facts.to_come == ToCome::greeting;
    if (is_of_hello(condition))
        return is_held || !greeting_is_open || may_start_tls ? Truth::maybe : Truth::no;
    if (is_held) return Truth::yes;
    const bool is_open =
        greeting_is_open &&
        (condition == Condition::ssh_server_version ||
         (condition == Condition::protocol && std::ranges::any_of(protocols, is_told_by_greeting)));
    return is_open ? Truth::maybe : Truth::no;
}

Truth Conditions::truth(const Facts& facts, bool may_start_tls) const {
    may_start_tls = may_start_tls || ask_for_start_of_tls();
    Truth all = Truth::yes;
    for (std::size_t i = 0; i < condition_words.size() && all != Truth::no; ++i) {
        const auto condition = static_cast<Condition>(i);
        if (has(condition)) all = std::min(all, truth(condition, facts, may_start_tls));
    }
    return all;
}

bool Conditions::empty() const {
    for (std::size_t i = 0; i < condition_words.size(); ++i) {
        if (has(static_cast<Condition>(i))) return false;
    }
    return true;
}

bool Conditions::ask_for(Condition condition) const {
    auto within = [&](const Conditions& c) { return c.ask_for(condition); };
    return has(condition) || std::ranges::any_of(any_of, within) || std::ranges::any_of(none_of, within);
}

bool Conditions::ask_for_under_not(Condition condition) const {
    return std::ranges::any_of(any_of, [&](const auto& c) { return c.ask_for_under_not(condition); }) ||
           std::ranges::any_of(none_of, [&](const auto& c) { return c.ask_for(condition); });
}

std::optional<std::size_t> Conditions::list_of(const Facts& facts) const {
    if (auto list = (facts.lists & lists.lists).first()) return list;
    if (auto list = (facts.lists & categories.lists).first()) return list;
    for (const Conditions& alternative : any_of) {
        if (!alternative.hold(facts)) continue;
        if (auto list = alternative.list_of(facts)) return list;
    }
    return std::nullopt;
}

bool Conditions::hold_uncategorized(const Facts& facts) const {
    if (!facts.is_uncategorized()) return false;
    return uncategorized || categories.uncategorized || std::ranges::any_of(any_of, [&](const Conditions& c) {
               return c.hold(facts) && c.hold_uncategorized(facts);
           });
}

}  // namespace sluice::policy
