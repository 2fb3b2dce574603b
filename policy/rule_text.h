#pragma once
#include <string>

#include "policy/rule.h"

namespace sluice::policy {

// What a rule says, on one line, the same for any two notations of it: "port 443; server_name suffix:a.com ->
// deny (alert)". Names of sets stand for their entries.
std::string to_text(const Rule& rule);

}  // namespace sluice::policy
