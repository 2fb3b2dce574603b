#pragma once
// Conditions, and the sets that they may name, read from a configuration file.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "policy/conditions.h"
#include "policy/list_catalog.h"
#include "policy/yaml_reader.h"

namespace sluice::policy {

// What conditions may name: the section `sets:` of a policy, and its lists.
struct NamedSets {
    std::map<std::string, std::shared_ptr<const AddressSet>, std::less<>> addresses;
    std::map<std::string, std::shared_ptr<const MacSet>, std::less<>> macs;
    std::map<std::string, std::shared_ptr<const NamePatterns>, std::less<>> names;
    std::map<std::string, std::vector<TimeWindow>, std::less<>> times;
    std::vector<ListSource> lists;
};

// The keys of a mapping of conditions, in the order in which errors name them.
inline constexpr std::array<std::string_view, 18> condition_keys{
    "server_name", "list",  "category", "source", "mac", "destination", "port",
    "protocol",    "via",   "ech",      "alpn",   "ja4", "ssh_version", "ssh_server_version",
    "time",        "match", "any_of",   "not"};

// Throw FileError. See docs/configuration.md for the format.
NamedSets read_sets(const YamlReader& section);  // without the lists
// Of a mapping whose keys are these and perhaps others. `has_match_any`: it says `match: any`.
Conditions read_conditions(const YamlMapping& mapping, const NamedSets& sets, bool* has_match_any = nullptr);

// Readers that other sections share.
std::vector<Cidr> read_cidrs(const YamlReader& value);
std::vector<PortRange> read_ports(const YamlReader& value);

}  // namespace sluice::policy
