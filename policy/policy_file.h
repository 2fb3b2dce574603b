#pragma once
// The `policy:` section of a configuration file, read.
#include "policy/policy.h"
#include "policy/yaml_reader.h"

namespace sluice::policy {

inline constexpr std::size_t rule_name_bytes_max =
    63;  // fits the flow table's column of 64 bytes with its NUL

// Reads the mapping under `policy:`; throws FileError. See docs/configuration.md for the format.
Policy read_policy(const YamlReader& section);

// Readers that other sections share.
std::vector<Cidr> read_cidrs(const YamlReader& value);
std::vector<PortRange> read_ports(const YamlReader& value);

}  // namespace sluice::policy
