#pragma once
// What may pass. A policy is read once, then only asked: judge() is const, allocates nothing (but for RE2's
// bounded automaton) and may be called from every worker at once.
#include <string_view>
#include <vector>

#include "policy/rule.h"

namespace sluice::policy {

// Names of verdicts that no rule gave; no rule may be called so.
inline constexpr std::string_view default_rule_name = "default";
inline constexpr std::string_view malformed_rule_name = "malformed";

// Ordered rules: the first one whose every condition holds decides. When none does, `fallback` does (in the
// file: `default`).
//
// A flow that claims to be TLS and whose hello cannot be understood (malformed, too long, too late) has no
// name to judge by. No rule that allows is asked: it could be meant for someone else. Rules that deny are, as
// `malformed: allow` must not open what a rule shuts by address, port or protocol. When none of them matches,
// `malformed` decides.
class Policy {
  public:
    Policy(std::vector<Rule> rules, Outcome fallback, Outcome malformed);

    // Which rule decides, and what. The verdict's `rule` points into this policy. Never fails: some outcome
    // always exists.
    Verdict judge(const Facts& facts) const;

    const std::vector<Rule>& rules() const { return rules_; }
    const Outcome& fallback() const { return fallback_; }
    const Outcome& malformed() const { return malformed_; }

  private:
    std::vector<Rule> rules_;
    Outcome fallback_;
    Outcome malformed_;
};

}  // namespace sluice::policy
