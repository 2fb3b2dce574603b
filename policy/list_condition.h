#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "policy/list_set.h"

namespace sluice::policy {

// The category of names that no list knows.
inline constexpr std::string_view uncategorized_category = "uncategorized";

// What a rule says of lists or of categories. Which lists that is, is known once they are read: until then no
// list knows any name.
struct ListCondition {
    struct Entry {
        std::string name;
        int line = 0;  // in the file, 1-based
        int column = 0;
    };
    std::vector<Entry> entries;
    ListSet lists;
    bool uncategorized = false;  // one of the entries

    bool empty() const { return entries.empty(); }
};

}  // namespace sluice::policy
