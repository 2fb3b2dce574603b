#include "policy/lint.h"

#include <algorithm>
#include <map>
#include <set>

#include "policy/quote.h"

namespace sluice::policy {
namespace {

bool has_no_conditions(const Step& step) {
    return step.enforced() && step.rule->when.empty() && (step.user == nullptr || step.user->when.empty());
}

bool has_names_only(const Step& step) {
    if (!step.enforced() || (step.user != nullptr && !step.user->when.empty())) return false;
    Conditions rest = step.rule->when;
    rest.server_names.clear();
    return !step.rule->when.server_names.empty() && rest.empty();
}

bool leaves_out(const Rule& rule, std::initializer_list<Protocol> protocols) {
    const auto& wanted = rule.when.protocols;
    auto has = [&](Protocol protocol) { return std::ranges::find(wanted, protocol) != wanted.end(); };
    return !wanted.empty() && std::ranges::none_of(protocols, has);
}

// server-first: a flow that turns to TLS may have begun so.
constexpr std::initializer_list<Protocol> with_hellos{Protocol::tls,        Protocol::smtp,
                                                      Protocol::imap,       Protocol::pop3,
                                                      Protocol::postgresql, Protocol::server_first};
constexpr std::initializer_list<Protocol> with_names{
    Protocol::tls,        Protocol::smtp,         Protocol::imap, Protocol::pop3,
    Protocol::postgresql, Protocol::server_first, Protocol::http};

// A silent client's server is dialled for such a rule, whichever decides when the name is there.
bool reaches_for_servers(const Rule& rule) {
    return std::ranges::any_of(rule.when.protocols,
                               [](Protocol p) { return p == Protocol::server_first || may_start_tls(p); });
}

constexpr std::initializer_list<Protocol> with_malformed{Protocol::tls,       Protocol::http, Protocol::ssh,
                                                         Protocol::smtp,      Protocol::imap, Protocol::pop3,
                                                         Protocol::postgresql};

class Linter {
  public:
    Linter(const Policy& policy, bool is_asked_by_name)
        : policy_(policy), is_asked_by_name_(is_asked_by_name) {}

    std::vector<Warning> run() && {
        for (std::size_t i = 0; i < policy_.profiles().size(); ++i)
            check_used(i);
        for (const Step& step : policy_.steps()) {
            if (!seen_.insert(step.rule).second) continue;  // a row, met before by way of another rule
            check_reached(step);
            check_protocol(*step.rule);
            for (const auto& set : step.rule->when.server_names) {
                for (const NamePattern& pattern : set->patterns())
                    check_pattern(step, pattern);
            }
            if (catch_all_ == nullptr && has_no_conditions(step)) catch_all_ = step.rule;
        }
        return std::move(warnings_);
    }

  private:
    void warn(const Rule& rule, std::string message) {
        warnings_.push_back({rule.line, rule.column, "rule " + quote(rule.name) + " " + std::move(message)});
    }

    void check_reached(const Step& step) {
        if (catch_all_ == nullptr) return;
        const Rule& rule = *step.rule;
        // Malformed hellos pass by rules that allow.
        bool still_asked = catch_all_->outcome.action == Action::allow &&
                           rule.outcome.action == Action::deny && !rule.when.asks_for_name() &&
                           !rule.when.needs_name() && !leaves_out(rule, with_malformed);
        warn(rule, std::string(still_asked ? "is asked for malformed hellos only" : "is never asked") +
                       ": every other flow matches " + quote(catch_all_->name) + " (line " +
                       std::to_string(catch_all_->line) + "), which has no conditions");
    }

    void check_protocol(const Rule& rule) {
        if (rule.outcome.style == DenyStyle::alert && leaves_out(rule, with_hellos)) {
            warn(rule, "has style: alert, but its protocol: leaves TLS out; such flows get a reset");
        }
        const Conditions& when = rule.when;
        if (when.needs_name() && !is_asked_by_name_ && leaves_out(rule, with_names)) {
            warn(rule,
                 "never matches: its protocol: leaves out all that carry a server name (TLS, HTTP, and what "
                 "may turn to TLS)");
        }
        if (policy_.list_sources().lists.empty() && when.ask_for(Condition::match)) {
            warn(rule, "has match: uncategorized, which holds for every name: there are no lists:");
        }
        bool wants_hello = !when.ech.empty() || !when.alpn.empty() || !when.ja4.empty();
        if (wants_hello && leaves_out(rule, with_hellos)) {
            warn(rule,
                 "never matches: only TLS has ech, alpn and ja4, and its protocol: leaves out TLS and all "
                 "that may turn to it");
        }
        if (!when.ssh_server_versions.empty() && leaves_out(rule, {Protocol::ssh, Protocol::server_first})) {
            warn(rule,
                 "never matches: only an SSH server has such a version, and its protocol: leaves SSH out");
        }
        if (!when.ssh_versions.empty() && leaves_out(rule, {Protocol::ssh})) {
            warn(rule, "never matches: only SSH has a version, and its protocol: leaves SSH out");
        }
    }

    void check_used(std::size_t number) {
        bool used = std::ranges::any_of(policy_.rules(), [&](const Rule& rule) {
            return std::ranges::find(rule.profiles, number) != rule.profiles.end();
        });
        const Profile& profile = policy_.profiles()[number];
        if (used) return;
        warnings_.push_back({profile.line, profile.column,
                             "profile " + quote(profile.name) + " is never asked: no rule says use: " +
                                 profile.name + ", or names a group that has it"});
    }

    void check_pattern(const Step& step, const NamePattern& pattern) {
        const Rule& rule = *step.rule;
        if (pattern.is_regex() && has_careless_dot(pattern.text())) {
            warn(rule, "has " + quote(pattern.text()) +
                           ", where an unescaped dot matches any character; write \\. "
                           "for a dot");
        }
        auto [first, is_new] = patterns_.emplace(pattern.canonical(), step);
        if (is_new) return;
        const Rule& earlier = *first->second.rule;
        if (&earlier == &rule) {
            warn(rule, "has " + quote(pattern.text()) + " twice");
        } else if (has_names_only(first->second) && !reaches_for_servers(rule)) {
            warn(rule, "has " + quote(pattern.text()) + ", which rule " + quote(earlier.name) + " (line " +
                           std::to_string(earlier.line) + ") has already decided");
        } else {
            first->second = step;
        }
    }

    const Policy& policy_;
    const bool is_asked_by_name_;
    std::vector<Warning> warnings_;
    const Rule* catch_all_ = nullptr;
    std::set<const Rule*> seen_;
    std::map<std::string, Step>
        patterns_;  // the last step that has it, or the first that decides by it alone
};

}  // namespace

std::vector<Warning> lint(const Policy& policy, bool is_asked_by_name) {
    return Linter(policy, is_asked_by_name).run();
}

}  // namespace sluice::policy
