#include "policy/rule.h"

#include <algorithm>

namespace sluice::policy {
namespace {

template <typename Entry, typename Holds>
bool holds_for_any(const std::vector<Entry>& entries, Holds holds) {
    return entries.empty() || std::ranges::any_of(entries, holds);
}

}  // namespace

std::optional<Condition> Rule::unmet(const Facts& facts) const {
    bool malformed = facts.protocol == Protocol::malformed;
    Protocol protocol = malformed ? Protocol::tls : facts.protocol;
    std::string_view server_name = malformed ? std::string_view() : facts.server_name;

    auto has_source = [&](const Cidr& cidr) { return cidr.contains(facts.source.address); };
    auto has_destination = [&](const Cidr& cidr) { return cidr.contains(facts.destination.address); };
    auto has_port = [&](const PortRange& range) { return range.contains(facts.destination.port); };
    auto is_protocol = [&](Protocol wanted) { return wanted == protocol; };
    auto has_name = [&](const NamePattern& pattern) { return pattern.matches(server_name); };

    // The cheap ones first.
    if (!holds_for_any(sources, has_source)) return Condition::source;
    if (!holds_for_any(destinations, has_destination)) return Condition::destination;
    if (!holds_for_any(ports, has_port)) return Condition::port;
    if (!holds_for_any(protocols, is_protocol)) return Condition::protocol;
    if (!holds_for_any(server_names, has_name)) return Condition::server_name;
    return std::nullopt;
}

}  // namespace sluice::policy
