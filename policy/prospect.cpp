#include "policy/prospect.h"

#include <algorithm>

namespace sluice::policy {
namespace {

Truth truth(const Step& step, const Facts& facts) {
    const bool by_user = step.user != nullptr && step.user->when.ask_for_start_of_tls();
    const Truth rule = step.rule->when.truth(facts, by_user);
    if (step.user == nullptr) return rule;
    return std::min(rule, step.user->when.truth(facts, step.rule->when.ask_for_start_of_tls()));
}

}  // namespace

Prospect prospect(const Policy& policy, const Facts& known_facts) {
    const Facts facts = policy.complete(known_facts);
    Prospect out;
    const auto may = [&](Action action, const Step* by) {
        if (action == Action::allow && !out.may_allow) out.may_allow_by = by;
        (action == Action::allow ? out.may_allow : out.may_deny) = true;
    };
    for (const Step& step : policy.steps()) {
        if (!Policy::is_asked(step, facts)) continue;
        const Truth holds = truth(step, facts);
        const Action action = step.rule->outcome.action;
        // What is not enforced decides nothing, but whoever watches wants to know what it would deny.
        if (holds == Truth::no || (!step.enforced() && action == Action::allow)) continue;
        may(action, &step);
        if (holds == Truth::yes && step.enforced()) return out;
    }
    may(policy.fallback().action, nullptr);
    return out;
}

SoFar judge_so_far(const Policy& policy, const Facts& facts) {
    const Verdict verdict = policy.judge(facts);
    if (facts.to_come == ToCome::nothing) return {verdict, true};
    const Prospect ahead = prospect(policy, facts);
    if (!ahead.may_allow) return {verdict, true};
    if (verdict.allowed()) return {verdict, !ahead.may_deny};
    Verdict for_now{policy.fallback(), default_rule_name};
    if (ahead.may_allow_by != nullptr)
        for_now = {ahead.may_allow_by->rule->outcome, ahead.may_allow_by->rule->name};
    return {for_now, false};
}

}  // namespace sluice::policy
