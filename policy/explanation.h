#pragma once
// How a policy comes to its verdict, in words. For people: slow, and it allocates.
#include <string>
#include <vector>

#include "policy/policy.h"

namespace sluice::policy {

struct Explanation {
    Verdict verdict;
    const Step* decider = nullptr;         // null: `default` or `malformed` decided
    std::vector<std::string> because;      // each condition that held, with the entry that made it hold
    std::vector<std::string> passed_over;  // what was asked before, and why it did not decide
    std::vector<std::string> shadowed;     // what matches, too, and comes too late
};

// Points into `policy`.
Explanation explain(const Policy& policy, const Facts& facts);

}  // namespace sluice::policy
