#include "policy/policy_file.h"

#include <algorithm>
#include <map>

#include "policy/quote.h"

namespace sluice::policy {
namespace {

constexpr Outcome malformed_when_silent{Action::deny, DenyStyle::reset, true};
constexpr std::span<const std::string_view> rule_protocol_words(protocol_words.data(),
                                                                protocol_words.size() - 1);
static_assert(protocol_words.back() == "malformed", "no rule can ask for malformed flows");

// The keys action, style and log.
Outcome read_outcome(const YamlMapping& mapping) {
    Outcome outcome;
    outcome.action = static_cast<Action>(mapping.at("action").word(action_words));
    if (const YamlReader* style = mapping.find("style")) {
        if (outcome.action == Action::allow) {
            style->fail("expected style: only with action: deny, found it with action: allow");
        }
        outcome.style = static_cast<DenyStyle>(style->word(deny_style_words));
    }
    if (const YamlReader* log = mapping.find("log")) outcome.log = log->flag();
    return outcome;
}

// A word, or a mapping with the keys above.
Outcome read_short_outcome(const YamlReader& value) {
    if (value.is_mapping()) {
        return read_outcome(value.mapping("an action", {"action", "style", "log"}));
    }
    Outcome outcome;
    outcome.action = static_cast<Action>(value.word(action_words));
    return outcome;
}

std::string read_name(const YamlReader& value) {
    constexpr std::string_view wanted = "a rule's name: 1 to 63 characters of printable ASCII";
    std::string name = value.text(wanted);
    bool printable = std::ranges::all_of(name, [](char c) { return c >= 0x20 && c < 0x7f; });
    if (name.empty() || name.size() > rule_name_bytes_max || !printable) value.fail_expecting(wanted);
    if (name == default_rule_name || name == malformed_rule_name) {
        value.fail(
            "expected another name for a rule (logs use this one for flows that no rule decides), found " +
            quote(name));
    }
    return name;
}

std::vector<Protocol> read_protocols(const YamlReader& value) {
    std::vector<Protocol> protocols;
    for (const YamlReader& entry : value.entries("a protocol")) {
        protocols.push_back(static_cast<Protocol>(entry.word(rule_protocol_words)));
    }
    return protocols;
}

std::vector<NamePattern> read_patterns(const YamlReader& value) {
    constexpr std::string_view wanted = "a pattern such as suffix:example.com";
    constexpr std::string_view space_sentence =
        "expected a pattern such as suffix:example.com, found a mapping (no space may follow the colon)";
    if (value.is_mapping()) value.fail(space_sentence);
    std::vector<NamePattern> patterns;
    for (const YamlReader& entry : value.entries(wanted)) {
        if (entry.is_mapping()) entry.fail(space_sentence);
        auto pattern = NamePattern::parse(entry.text(wanted));
        if (!pattern) entry.fail(pattern.error());
        patterns.push_back(std::move(*pattern));
    }
    return patterns;
}

Rule read_rule(const YamlReader& value) {
    YamlMapping mapping = value.mapping(
        "a rule (a mapping with name: and action:)",
        {"name", "server_name", "source", "destination", "port", "protocol", "action", "style", "log"});
    Rule rule;
    rule.line = value.line();
    rule.column = value.column();
    rule.name = read_name(mapping.at("name"));
    if (const YamlReader* source = mapping.find("source")) rule.sources = read_cidrs(*source);
    if (const YamlReader* destination = mapping.find("destination"))
        rule.destinations = read_cidrs(*destination);
    if (const YamlReader* port = mapping.find("port")) rule.ports = read_ports(*port);
    if (const YamlReader* protocol = mapping.find("protocol")) rule.protocols = read_protocols(*protocol);
    if (const YamlReader* names = mapping.find("server_name")) rule.server_names = read_patterns(*names);
    rule.outcome = read_outcome(mapping);
    return rule;
}

std::vector<Rule> read_rules(const YamlReader& value) {
    std::vector<Rule> rules;
    std::map<std::string, int> lines;  // of each name
    for (const YamlReader& entry : value.mappings("a list of rules")) {
        Rule rule = read_rule(entry);
        auto [first, is_new] = lines.emplace(rule.name, rule.line);
        if (!is_new) {
            entry.fail("expected a name of its own for each rule, found " + quote(rule.name) +
                       " again (first on line " + std::to_string(first->second) + ")");
        }
        rules.push_back(std::move(rule));
    }
    return rules;
}

}  // namespace

std::vector<Cidr> read_cidrs(const YamlReader& value) {
    constexpr std::string_view wanted =
        "an address or a prefix without host bits, such as 10.0.0.0/8 or 2001:db8::1";
    std::vector<Cidr> cidrs;
    for (const YamlReader& entry : value.entries(wanted))
        cidrs.push_back(entry.parsed(wanted, Cidr::parse));
    return cidrs;
}

std::vector<PortRange> read_ports(const YamlReader& value) {
    constexpr std::string_view wanted = "a port from 1 to 65535, or a range such as 8000-8100";
    std::vector<PortRange> ports;
    for (const YamlReader& entry : value.entries(wanted))
        ports.push_back(entry.parsed(wanted, PortRange::parse));
    return ports;
}

Policy read_policy(const YamlReader& section) {
    YamlMapping mapping =
        section.mapping("a policy (a mapping with default:)", {"default", "malformed", "rules"});
    Outcome fallback = read_short_outcome(mapping.at("default"));
    Outcome malformed = malformed_when_silent;
    if (const YamlReader* value = mapping.find("malformed")) malformed = read_short_outcome(*value);
    std::vector<Rule> rules;
    if (const YamlReader* value = mapping.find("rules")) rules = read_rules(*value);
    return Policy(std::move(rules), fallback, malformed);
}

}  // namespace sluice::policy
