#pragma once
// One rule: conditions over facts, and an outcome. A profile is a table of rules, called rows there, that
// rules hand flows to.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/conditions.h"
#include "policy/outcome.h"

namespace sluice::policy {

struct Rule {
    std::string name;  // of a row: "PROFILE/ROW"
    Conditions when;
    Outcome outcome;
    std::string use;                    // instead of an outcome: the profile or group that the file names,
    std::vector<std::size_t> profiles;  // and the profiles that it stands for, in their order
    int line = 0;                       // in the file it was read from, 1-based
    int column = 0;

    std::optional<Condition> unmet(const Facts& facts) const { return when.unmet(facts); }
    bool matches(const Facts& facts) const { return when.hold(facts); }
};

struct Profile {
    std::string name;
    bool enforce = true;  // false: its rows decide nothing; what they would have denied is logged
    std::vector<Rule> rows;
    int line = 0;
    int column = 0;
};

}  // namespace sluice::policy
