#pragma once
// The section `lists:` of a policy, and what rules say of it.
#include <vector>

#include "policy/list_catalog.h"
#include "policy/list_condition.h"
#include "policy/yaml_reader.h"

namespace sluice::policy {

// Throw FileError. See docs/configuration.md for the format.
std::vector<ListSource> read_lists(const YamlReader& section);
// The keys `list` and `category` of a rule. Whether some list has the category is known once they are read.
ListCondition read_list_names(const YamlReader& value, const std::vector<ListSource>& lists);
ListCondition read_categories(const YamlReader& value, const std::vector<ListSource>& lists);

}  // namespace sluice::policy
