#pragma once
// The `policy:` section of a configuration file, read.
#include "policy/conditions_file.h"
#include "policy/policy.h"
#include "policy/yaml_reader.h"

namespace sluice::policy {

// Fits the flow table's column of 64 bytes with its NUL; and so do a profile's and its row's with a slash.
inline constexpr std::size_t rule_name_bytes_max = 63;
inline constexpr std::size_t profile_name_bytes_max = 31;

// Reads the mapping under `policy:`; throws FileError. See docs/configuration.md for the format.
Policy read_policy(const YamlReader& section);

}  // namespace sluice::policy
