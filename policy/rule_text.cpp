#include "policy/rule_text.h"

#include <algorithm>

namespace sluice::policy {
namespace {

void add(std::string& out, std::string_view word, const std::string& entries) {
    if (entries.empty()) return;
    if (!out.empty()) out += "; ";
    out += std::string(word) + " " + entries;
}

template <typename Entries, typename Text>
std::string join(const Entries& entries, Text text) {
    std::string out;
    for (const auto& entry : entries)
        out += (out.empty() ? "" : ", ") + std::string(text(entry));
    return out;
}

template <typename Sets>
std::string join_addresses(const Sets& sets) {
    return join(sets, [](const auto& set) {
        return join(set->prefixes(), [](const Cidr& c) { return c.to_string(); });
    });
}

std::string conditions_text(const Conditions& when) {
    std::string out;
    auto nested = [](const Conditions& c) { return "{" + conditions_text(c) + "}"; };
    auto as_text = [](const TextPattern& pattern) { return pattern.text(); };
    add(out, "source", join_addresses(when.sources));
    add(out, "mac", join(when.macs, [](const auto& set) {
            return join(set->prefixes(), [](const MacPrefix& p) { return p.to_string(); });
        }));
    add(out, "destination", join_addresses(when.destinations));
    add(out, "port", join(when.ports, [](const PortRange& range) { return range.to_string(); }));
    add(out, "protocol", join(when.protocols, [](Protocol p) { return to_string(p); }));
    add(out, "via", join(when.vias, [](Via via) { return to_string(via); }));
    add(out, "ech", join(when.ech, [](Ech ech) { return to_string(ech); }));
    if (when.uncategorized) add(out, "match", "uncategorized");
    auto label = [](const ListCondition::Entry& entry) { return entry.name; };
    add(out, "list", join(when.lists.entries, label));
    add(out, "category", join(when.categories.entries, label));
    add(out, "time", join(when.times, [](const TimeWindow& window) { return window.text(); }));
    add(out, "alpn", join(when.alpn, [](const std::string& id) { return id; }));
    add(out, "ja4", join(when.ja4, as_text));
    add(out, "ssh_version", join(when.ssh_versions, as_text));
    add(out, "ssh_server_version", join(when.ssh_server_versions, as_text));
    std::string names = join(when.server_names, [](const auto& set) {
        return join(set->patterns(), [](const NamePattern& pattern) { return pattern.canonical(); });
    });
    if (when.no_server_name) names = names.empty() ? "none" : "none, " + names;
    add(out, "server_name", names);
    add(out, "any_of", join(when.any_of, nested));
    add(out, "not", join(when.none_of, nested));
    return out;
}

}  // namespace

std::string to_text(const Rule& rule) {
    std::string out = conditions_text(rule.when);
    if (out.empty()) out = "any flow";
    if (!rule.use.empty()) return out + " -> use " + rule.use;
    out += " -> " + std::string(to_string(rule.outcome.action));
    if (rule.outcome.action == Action::deny) out += " (" + std::string(to_string(rule.outcome.style)) + ")";
    if (rule.outcome.verify != Verify::off) out += ", verify " + std::string(to_string(rule.outcome.verify));
    return out + (rule.outcome.log ? "" : ", no log");
}

}  // namespace sluice::policy
