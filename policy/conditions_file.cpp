#include "policy/conditions_file.h"

#include <algorithm>

#include "policy/lists_file.h"
#include "policy/quote.h"

namespace sluice::policy {
namespace {

constexpr std::size_t set_name_bytes_max = 63;
constexpr unsigned nesting_max = 4;          // of `not` and `any_of`: beyond, nobody can tell what it says
constexpr std::size_t alpn_bytes_max = 255;  // RFC 7301 3.1
constexpr std::string_view set_prefix = "set:";

constexpr std::string_view pattern_wanted = "a pattern such as suffix:example.com";
constexpr std::string_view cidr_wanted =
    "an address or a prefix without host bits, such as 10.0.0.0/8 or 2001:db8::1";
constexpr std::string_view mac_wanted =
    "a MAC address, or the first bits of one, such as 02:00:5e:10:00:01, 00:00:5e or 00:00:5e:90:00:00/28";

NamePattern read_pattern(const YamlReader& entry) {
    if (entry.is_mapping()) {
        entry.fail(
            "expected a pattern such as suffix:example.com, found a mapping (no space may follow the colon)");
    }
    auto pattern = NamePattern::parse(entry.text(pattern_wanted));
    if (!pattern) entry.fail(pattern.error());
    return std::move(*pattern);
}

// The set that `entry` names, "set:NAME"; null when it names none.
template <typename Sets>
const typename Sets::mapped_type* find_set(const YamlReader& entry, const Sets& sets, std::string_view kind) {
    std::string text = entry.text("a word");
    if (!text.starts_with(set_prefix)) return nullptr;
    std::string name = text.substr(set_prefix.size());
    auto set = sets.find(name);
    if (set != sets.end()) return &set->second;
    std::vector<std::string_view> known;
    for (const auto& [known_name, unused] : sets)
        known.push_back(known_name);
    entry.fail("expected a set that sets: has under " + std::string(kind) + ":, found " + quote(name) +
               YamlReader::suggestion(name, known));
}

bool is_set_reference(const YamlReader& entry) {
    return entry.is_scalar() && entry.text("a word").starts_with(set_prefix);
}

void read_server_names(const YamlReader& value, const NamedSets& sets, Conditions& out) {
    std::vector<NamePattern> patterns;
    std::vector<YamlReader> entries{value};
    if (!value.is_mapping()) entries = value.entries(pattern_wanted);
    for (const YamlReader& entry : entries) {
        if (is_set_reference(entry)) {
            out.server_names.push_back(*find_set(entry, sets.names, "names"));
        } else if (entry.is_scalar() && entry.text(pattern_wanted) == "none") {
            out.no_server_name = true;
        } else {
            patterns.push_back(read_pattern(entry));
        }
    }
    if (!patterns.empty())
        out.server_names.push_back(std::make_shared<const NamePatterns>(std::move(patterns)));
}

// Prefixes, and sets of them by their names: of IP addresses, or of MAC addresses.
template <typename Prefix, typename Set>
std::vector<std::shared_ptr<const Set>> read_prefix_sets(
    const YamlReader& value, std::string_view wanted,
    const std::map<std::string, std::shared_ptr<const Set>, std::less<>>& sets, std::string_view kind) {
    std::vector<std::shared_ptr<const Set>> out;
    std::vector<Prefix> prefixes;
    for (const YamlReader& entry : value.entries(wanted)) {
        if (is_set_reference(entry)) {
            out.push_back(*find_set(entry, sets, kind));
        } else {
            prefixes.push_back(entry.parsed(wanted, Prefix::parse));
        }
    }
    if (!prefixes.empty()) out.push_back(std::make_shared<const Set>(std::move(prefixes)));
    return out;
}

TimeWindow read_window(const YamlReader& value) {
    constexpr std::string_view wanted = "a time (a mapping with zone:, and days: or hours:), or set:NAME";
    constexpr std::string_view days_wanted =
        "a day (mon, tue, wed, thu, fri, sat, sun), or a range such as mon-fri";
    constexpr std::string_view hours_wanted = "hours such as 08:00-18:00 (in quotes where a list has them)";
    YamlMapping mapping = value.mapping(wanted, {"days", "hours", "zone"});
    const YamlReader& zone_value = mapping.at("zone");
    auto zone = TimeZone::load(zone_value.text("a time zone such as Europe/Berlin or UTC"));
    if (!zone) zone_value.fail(zone.error());
    std::bitset<7> days;
    if (const YamlReader* value_of_days = mapping.find("days")) {
        for (const YamlReader& entry : value_of_days->entries(days_wanted))
            days |= entry.parsed(days_wanted, parse_days);
    } else {
        days.set();
    }
    TimeWindow window(*zone);
    if (const YamlReader* hours = mapping.find("hours")) {
        for (const YamlReader& entry : hours->entries(hours_wanted))
            window.add(days, entry.parsed(hours_wanted, DayHours::parse));
    } else if (mapping.find("days") == nullptr) {
        value.fail("expected days: or hours: in a time, found only its zone:");
    } else {
        window.add(days, {});
    }
    return window;
}

// One mapping, or a list of mappings and names of sets.
std::vector<TimeWindow> read_windows(const YamlReader& value, const NamedSets* sets) {
    if (value.is_mapping()) return {read_window(value)};
    std::vector<TimeWindow> windows;
    for (const YamlReader& entry :
         value.entries("a time (a mapping with zone:, and days: or hours:), or set:NAME")) {
        if (sets != nullptr && is_set_reference(entry)) {
            const std::vector<TimeWindow>& set = *find_set(entry, sets->times, "times");
            windows.insert(windows.end(), set.begin(), set.end());
        } else {
            windows.push_back(read_window(entry));
        }
    }
    return windows;
}

std::vector<Protocol> read_protocols(const YamlReader& value) {
    constexpr auto words = [] {
        std::array<std::string_view, rule_protocols.size()> out;
        std::ranges::transform(rule_protocols, out.begin(), [](Protocol p) { return to_string(p); });
        return out;
    }();
    std::vector<Protocol> protocols;
    for (const YamlReader& entry : value.entries("a protocol"))
        protocols.push_back(rule_protocols[entry.word(words)]);
    return protocols;
}

std::vector<TextPattern> read_texts(const YamlReader& value, std::string_view wanted) {
    std::vector<TextPattern> texts;
    for (const YamlReader& entry : value.entries(wanted)) {
        auto text = TextPattern::parse(entry.text(wanted));
        if (!text) entry.fail_expecting(wanted);
        texts.push_back(std::move(*text));
    }
    return texts;
}

std::vector<std::string> read_alpn(const YamlReader& value) {
    constexpr std::string_view wanted = "an ALPN protocol such as h2 (1 to 255 bytes), or none";
    std::vector<std::string> ids;
    for (const YamlReader& entry : value.entries(wanted)) {
        std::string id = entry.text(wanted);
        if (id.empty() || id.size() > alpn_bytes_max) entry.fail_expecting(wanted);
        ids.push_back(std::move(id));
    }
    return ids;
}

Conditions read_nested(const YamlMapping& mapping, const NamedSets& sets, bool* has_match_any,
                       unsigned depth);

std::vector<Conditions> read_alternatives(const YamlReader& value, const NamedSets& sets, unsigned depth) {
    constexpr std::string_view wanted = "conditions (a mapping), or a list of them";
    if (depth >= nesting_max) value.fail("expected at most 4 levels of not: and any_of:, found more");
    std::vector<YamlReader> entries{value};
    if (!value.is_mapping()) entries = value.entries(wanted);
    std::vector<Conditions> out;
    for (const YamlReader& entry : entries) {
        out.push_back(read_nested(entry.mapping(wanted, condition_keys), sets, nullptr, depth + 1));
        if (out.back().empty()) entry.fail("expected at least one condition, found none");
    }
    return out;
}

bool read_match(const YamlReader& value, Conditions& out) {
    constexpr std::array<std::string_view, 2> words{"any", "uncategorized"};
    out.uncategorized = value.word(words) == 1;
    return !out.uncategorized;
}

Conditions read_nested(const YamlMapping& mapping, const NamedSets& sets, bool* has_match_any,
                       unsigned depth) {
    Conditions out;
    if (const auto* value = mapping.find("server_name")) read_server_names(*value, sets, out);
    if (const auto* value = mapping.find("list")) out.lists = read_list_names(*value, sets.lists);
    if (const auto* value = mapping.find("category")) out.categories = read_categories(*value, sets.lists);
    if (const auto* value = mapping.find("source"))
        out.sources = read_prefix_sets<Cidr>(*value, cidr_wanted, sets.addresses, "addresses");
    if (const auto* value = mapping.find("mac"))
        out.macs = read_prefix_sets<MacPrefix>(*value, mac_wanted, sets.macs, "macs");
    if (const auto* value = mapping.find("destination"))
        out.destinations = read_prefix_sets<Cidr>(*value, cidr_wanted, sets.addresses, "addresses");
    if (const auto* value = mapping.find("port")) out.ports = read_ports(*value);
    if (const auto* value = mapping.find("protocol")) out.protocols = read_protocols(*value);
    if (const auto* value = mapping.find("via")) {
        for (const YamlReader& entry : value->entries("captured, connect or socks5"))
            out.vias.push_back(static_cast<Via>(entry.word(via_words)));
    }
    if (const auto* value = mapping.find("ech")) {
        for (const YamlReader& entry : value->entries("none, grease or outer"))
            out.ech.push_back(static_cast<Ech>(entry.word(ech_words)));
    }
    if (const auto* value = mapping.find("alpn")) out.alpn = read_alpn(*value);
    if (const auto* value = mapping.find("ja4")) {
        out.ja4 = read_texts(*value, "a JA4 fingerprint, in which * may stand for any part");
    }
    if (const auto* value = mapping.find("ssh_version")) {
        out.ssh_versions = read_texts(*value, "an SSH version such as 2.0-OpenSSH_*");
    }
    if (const auto* value = mapping.find("ssh_server_version")) {
        out.ssh_server_versions = read_texts(*value, "an SSH version such as 2.0-OpenSSH_*");
    }
    if (const auto* value = mapping.find("time")) out.times = read_windows(*value, &sets);
    if (const auto* value = mapping.find("any_of")) out.any_of = read_alternatives(*value, sets, depth);
    if (const auto* value = mapping.find("not")) out.none_of = read_alternatives(*value, sets, depth);
    if (const auto* value = mapping.find("match")) {
        bool any = read_match(*value, out);
        if (any && (has_match_any == nullptr || !out.empty())) {
            value->fail("expected match: any to be a row's only condition, found others");
        }
        if (has_match_any != nullptr) *has_match_any = any;
    }
    return out;
}

std::string read_set_name(const YamlReader& key) {
    constexpr std::string_view wanted = "a set's name: 1 to 63 letters, digits and . _ -";
    std::string name = key.text(wanted);
    bool fits = std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
               c == '_' || c == '-';
    });
    if (name.empty() || name.size() > set_name_bytes_max || !fits) key.fail_expecting(wanted);
    return name;
}

}  // namespace

Conditions read_conditions(const YamlMapping& mapping, const NamedSets& sets, bool* has_match_any) {
    return read_nested(mapping, sets, has_match_any, 0);
}

NamedSets read_sets(const YamlReader& section) {
    YamlMapping mapping = section.mapping("sets (a mapping)", {"names", "addresses", "macs", "times"});
    NamedSets sets;
    if (const YamlReader* names = mapping.find("names")) {
        for (const auto& [key, value] : names->pairs("sets of names by their names")) {
            std::string name = read_set_name(key);
            std::vector<NamePattern> patterns;
            for (const YamlReader& entry : value.entries(pattern_wanted))
                patterns.push_back(read_pattern(entry));
            sets.names[name] = std::make_shared<const NamePatterns>(std::move(patterns), name);
        }
    }
    if (const YamlReader* addresses = mapping.find("addresses")) {
        for (const auto& [key, value] : addresses->pairs("sets of addresses by their names")) {
            std::string name = read_set_name(key);
            sets.addresses[name] = std::make_shared<const AddressSet>(read_cidrs(value), name);
        }
    }
    if (const YamlReader* macs = mapping.find("macs")) {
        for (const auto& [key, value] : macs->pairs("sets of MAC addresses by their names")) {
            std::string name = read_set_name(key);
            std::vector<MacPrefix> prefixes;
            for (const YamlReader& entry : value.entries(mac_wanted))
                prefixes.push_back(entry.parsed(mac_wanted, MacPrefix::parse));
            sets.macs[name] = std::make_shared<const MacSet>(std::move(prefixes), name);
        }
    }
    if (const YamlReader* times = mapping.find("times")) {
        for (const auto& [key, value] : times->pairs("sets of times by their names"))
            sets.times[read_set_name(key)] = read_windows(value, nullptr);
    }
    return sets;
}

std::vector<Cidr> read_cidrs(const YamlReader& value) {
    std::vector<Cidr> cidrs;
    for (const YamlReader& entry : value.entries(cidr_wanted))
        cidrs.push_back(entry.parsed(cidr_wanted, Cidr::parse));
    return cidrs;
}

std::vector<PortRange> read_ports(const YamlReader& value) {
    constexpr std::string_view wanted = "a port from 1 to 65535, or a range such as 8000-8100";
    std::vector<PortRange> ports;
    for (const YamlReader& entry : value.entries(wanted))
        ports.push_back(entry.parsed(wanted, PortRange::parse));
    return ports;
}

}  // namespace sluice::policy
