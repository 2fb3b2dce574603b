#include "policy/policy.h"

#include <algorithm>

namespace sluice::policy {
namespace {

std::vector<Step> steps_of(const std::vector<Rule>& rules, const std::vector<Profile>& profiles) {
    std::vector<Step> steps;
    for (const Rule& rule : rules) {
        if (rule.use.empty()) steps.push_back({.rule = &rule});
        for (std::size_t number : rule.profiles) {
            const Profile& profile = profiles[number];
            for (const Rule& row : profile.rows)
                steps.push_back({.rule = &row, .user = &rule, .profile = &profile});
        }
    }
    return steps;
}

std::uint32_t asked_for(const std::vector<Step>& steps) {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < condition_words.size(); ++i) {
        auto condition = static_cast<Condition>(i);
        bool asked = std::ranges::any_of(steps, [&](const Step& step) {
            return step.rule->when.ask_for(condition) ||
                   (step.user != nullptr && step.user->when.ask_for(condition));
        });
        bits |= static_cast<std::uint32_t>(asked) << i;
    }
    return bits;
}

}  // namespace

Policy::Policy(std::vector<Rule> rules, Outcome fallback, Outcome malformed, std::vector<Profile> profiles)
    : rules_(std::move(rules)),
      profiles_(std::move(profiles)),
      steps_(steps_of(rules_, profiles_)),
      index_(steps_),
      asked_for_(asked_for(steps_)),
      fallback_(fallback),
      malformed_(malformed) {}

Verdict Policy::judge(const Facts& facts) const {
    const Step* shadow = nullptr;  // what would have decided, had every profile been enforced
    const Step* decider = nullptr;
    index_.for_each_candidate(facts, [&](std::size_t i) {
        const Step& step = steps_[i];
        if (!is_asked(step, facts) || (shadow != nullptr && !step.enforced())) return false;
        if (!step.matches(facts)) return false;
        (step.enforced() ? decider : shadow) = &step;
        return step.enforced();
    });
    Verdict verdict{fallback_, default_rule_name};
    if (decider != nullptr) {
        verdict = {decider->rule->outcome, decider->rule->name};
    } else if (facts.is_malformed()) {
        verdict = {malformed_, malformed_rule_name};
    }
    if (shadow != nullptr && shadow->rule->outcome.action == Action::deny && verdict.allowed()) {
        verdict.would_deny = shadow->rule->name;
        verdict.outcome.log = verdict.outcome.log || shadow->rule->outcome.log;
    }
    return verdict;
}

}  // namespace sluice::policy
