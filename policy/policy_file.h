#pragma once
// The `policy:` section of a configuration file, read.
#include "policy/policy.h"
#include "policy/yaml_reader.h"

namespace sluice::policy {

// Reads the mapping under `policy:`; throws FileError. See docs/configuration.md for the format.
Policy read_policy(const std::string& file, const YAML::Node& node);

}  // namespace sluice::policy
