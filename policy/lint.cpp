#include "policy/lint.h"

#include <algorithm>
#include <map>

#include "policy/quote.h"

namespace sluice::policy {
namespace {

bool has_no_conditions(const Rule& rule) {
    return rule.sources.empty() && rule.destinations.empty() && rule.ports.empty() &&
           rule.protocols.empty() && rule.server_names.empty();
}

bool has_names_only(const Rule& rule) {
    return !rule.server_names.empty() && rule.sources.empty() && rule.destinations.empty() &&
           rule.ports.empty() && rule.protocols.empty();
}

bool leaves_out_tls(const Rule& rule) {
    return !rule.protocols.empty() &&
           std::ranges::find(rule.protocols, Protocol::tls) == rule.protocols.end();
}

bool is_alphanumeric(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// A dot that stands for any character right before a letter or a digit: re:www.example.com also matches
// wwwxexample.com.
bool has_careless_dot(std::string_view regex) {
    bool in_class = false;
    for (std::size_t i = 0; i < regex.size(); ++i) {
        char next = i + 1 < regex.size() ? regex[i + 1] : '\0';
        if (regex[i] == '\\') {
            ++i;
        } else if (in_class) {
            in_class = regex[i] != ']';
        } else if (regex[i] == '[') {
            in_class = true;
            if (next == '^') ++i;
            if (i + 1 < regex.size() && regex[i + 1] == ']') ++i;  // a ] that comes first is a member
        } else if (regex[i] == '.' && is_alphanumeric(next)) {
            return true;
        }
    }
    return false;
}

class Linter {
  public:
    explicit Linter(const Policy& policy) : policy_(policy) {}

    std::vector<Warning> run() && {
        for (const Rule& rule : policy_.rules()) {
            check_reached(rule);
            check_protocol(rule);
            for (const NamePattern& pattern : rule.server_names)
                check_pattern(rule, pattern);
            if (catch_all_ == nullptr && has_no_conditions(rule)) catch_all_ = &rule;
        }
        return std::move(warnings_);
    }

  private:
    void warn(const Rule& rule, std::string message) {
        warnings_.push_back({rule.line, rule.column, "rule " + quote(rule.name) + " " + std::move(message)});
    }

    void check_reached(const Rule& rule) {
        if (catch_all_ == nullptr) return;
        // Malformed hellos pass by rules that allow.
        bool still_asked = catch_all_->outcome.action == Action::allow &&
                           rule.outcome.action == Action::deny && rule.server_names.empty() &&
                           !leaves_out_tls(rule);
        warn(rule, std::string(still_asked ? "is asked for malformed hellos only" : "is never asked") +
                       ": every other flow matches " + quote(catch_all_->name) + " (line " +
                       std::to_string(catch_all_->line) + "), which has no conditions");
    }

    void check_protocol(const Rule& rule) {
        if (rule.outcome.style == DenyStyle::alert && leaves_out_tls(rule)) {
            warn(rule, "has style: alert, but its protocol: leaves TLS out; such flows get a reset");
        }
        if (!rule.server_names.empty() && leaves_out_tls(rule)) {
            warn(rule, "never matches: only TLS carries a server name, and its protocol: leaves TLS out");
        }
    }

    void check_pattern(const Rule& rule, const NamePattern& pattern) {
        if (pattern.is_regex() && has_careless_dot(pattern.text())) {
            warn(rule, "has " + quote(pattern.text()) +
                           ", where an unescaped dot matches any character; write \\. "
                           "for a dot");
        }
        auto [first, is_new] = patterns_.emplace(pattern.canonical(), &rule);
        if (is_new) return;
        if (first->second == &rule) {
            warn(rule, "has " + quote(pattern.text()) + " twice");
        } else if (has_names_only(*first->second)) {
            warn(rule, "has " + quote(pattern.text()) + ", which rule " + quote(first->second->name) +
                           " (line " + std::to_string(first->second->line) + ") has already decided");
        } else {
            first->second = &rule;
        }
    }

    const Policy& policy_;
    std::vector<Warning> warnings_;
    const Rule* catch_all_ = nullptr;
    std::map<std::string, const Rule*>
        patterns_;  // the last rule that has it, or the first that decides by it alone
};

}  // namespace

std::vector<Warning> lint(const Policy& policy) {
    return Linter(policy).run();
}

}  // namespace sluice::policy
