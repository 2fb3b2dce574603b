#pragma once
#include "policy/rule.h"

namespace sluice::policy {

// One thing that a policy asks a flow: a rule, or a row of a profile by way of the rule that uses it.
struct Step {
    const Rule* rule = nullptr;        // with an outcome
    const Rule* user = nullptr;        // the rule that uses the profile; null: `rule` is no row
    const Profile* profile = nullptr;  // where the row is
    bool needs_mac = false;            // allows whom its `not` does not know: the client's MAC must be known

    bool matches(const Facts& facts) const {
        return (user == nullptr || user->matches(facts)) && rule->matches(facts);
    }
    bool enforced() const { return profile == nullptr || profile->enforce; }
};

}  // namespace sluice::policy
