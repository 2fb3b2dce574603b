#pragma once
// What a policy makes of a flow of which not all is known yet (Facts::to_come).
#include "policy/policy.h"

namespace sluice::policy {

// What the verdict may be once all is known. Never neither.
struct Prospect {
    bool may_allow = false;
    bool may_deny = false;
    const Step* may_allow_by = nullptr;  // the first step that can; null: none, or `default`
};

// Of facts that are not malformed. Slower than judge().
Prospect prospect(const Policy& policy, const Facts& facts);

struct SoFar {
    Verdict verdict;
    bool is_final = true;  // what is to come can change nothing
};

// The verdict, if it is certain, or denies whatever comes. Else a verdict that lets the flow go on for now,
// in the name of the first rule that may allow it, and without a word in the log.
SoFar judge_so_far(const Policy& policy, const Facts& facts);

}  // namespace sluice::policy
