#include "policy/policy.h"

namespace sluice::policy {

Policy::Policy(std::vector<Rule> rules, Outcome fallback, Outcome malformed)
    : rules_(std::move(rules)), fallback_(fallback), malformed_(malformed) {}

Verdict Policy::judge(const Facts& facts) const {
    bool malformed = facts.protocol == Protocol::malformed;
    for (const Rule& rule : rules_) {
        if (malformed && rule.outcome.action == Action::allow) continue;
        if (rule.matches(facts)) return {rule.outcome, rule.name};
    }
    if (malformed) return {malformed_, malformed_rule_name};
    return {fallback_, default_rule_name};
}

}  // namespace sluice::policy
