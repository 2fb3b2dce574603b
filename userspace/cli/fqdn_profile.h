#pragma once
// A name filter's table as an appliance has it: rows of names (PCRE) and categories, each Allow or Deny, Log
// or No Log, and the two rows at the end, Uncategorized and ANY.
#include <optional>
#include <string>
#include <vector>

#include "policy/outcome.h"

namespace sluice::cli {

struct FqdnRow {
    struct Name {
        std::string pcre;
        int line = 0;  // in the file, 1-based, as is the column
        int column = 0;
    };
    std::vector<Name> names;
    std::vector<std::string> categories;
    bool uncategorized = false;
    bool any = false;
    policy::Outcome outcome;

    bool is_empty() const { return names.empty() && categories.empty() && !uncategorized && !any; }
};

struct FqdnProfile {
    std::string name;  // empty: the file is silent
    std::vector<FqdnRow> rows;
};

// From CSV (RFC 4180) or JSON, told by the first character. Throws policy::FileError. docs/policy.md has both
// formats.
FqdnProfile parse_fqdn_profile(const std::string& file, const std::string& text);

}  // namespace sluice::cli
