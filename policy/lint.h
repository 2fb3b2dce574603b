#pragma once
// What a policy says but can hardly mean. Few and certain: a warning that is wrong teaches people to skip
// them all.
#include <string>
#include <vector>

#include "policy/policy.h"

namespace sluice::policy {

struct Warning {
    int line;  // of the rule, 1-based, as is the column
    int column;
    std::string message;
};

// Profiles that nobody uses; then the rest, in the order of the rules and of the rows that they use.
// `is_asked_by_name`: the gateway has clients who ask it for a server by name, whatever they speak then.
std::vector<Warning> lint(const Policy& policy, bool is_asked_by_name = false);

}  // namespace sluice::policy
