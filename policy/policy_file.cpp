#include "policy/policy_file.h"

#include <algorithm>
#include <map>

#include "policy/lists_file.h"
#include "policy/quote.h"

namespace sluice::policy {
namespace {

constexpr Outcome malformed_when_silent{Action::deny, DenyStyle::reset, true};
// The keys action, style, log and verify; `verify` is what holds when the last is silent.
Outcome read_outcome(const YamlMapping& mapping, Verify verify) {
    Outcome outcome;
    outcome.action = static_cast<Action>(mapping.at("action").word(action_words));
    if (const YamlReader* style = mapping.find("style")) {
        if (outcome.action == Action::allow) {
            style->fail("expected style: only with action: deny, found it with action: allow");
        }
        outcome.style = static_cast<DenyStyle>(style->word(deny_style_words));
    }
    if (const YamlReader* log = mapping.find("log")) outcome.log = log->flag();
    const YamlReader* own_verify = mapping.find("verify");
    if (own_verify != nullptr && outcome.action == Action::deny) {
        own_verify->fail("expected verify: only with action: allow, found it with action: deny");
    }
    if (own_verify != nullptr) verify = static_cast<Verify>(own_verify->word(verify_words));
    if (outcome.action == Action::allow) outcome.verify = verify;
    return outcome;
}

// A word, or a mapping with the keys above.
Outcome read_short_outcome(const YamlReader& value, Verify verify) {
    if (value.is_mapping()) {
        return read_outcome(value.mapping("an action", {"action", "style", "log", "verify"}), verify);
    }
    Outcome outcome;
    outcome.action = static_cast<Action>(value.word(action_words));
    if (outcome.action == Action::allow) outcome.verify = verify;
    return outcome;
}

// Such flows have no name.
Outcome read_malformed(const YamlReader& value) {
    if (value.is_mapping()) {
        return read_outcome(value.mapping("an action", {"action", "style", "log"}), Verify::off);
    }
    return read_short_outcome(value, Verify::off);
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

// Keys before and after those of the conditions.
template <std::size_t Before, std::size_t After>
constexpr auto with_conditions(const std::string_view (&before)[Before],
                               const std::string_view (&after)[After]) {
    std::array<std::string_view, Before + condition_keys.size() + After> keys;
    std::ranges::copy(before, keys.begin());
    std::ranges::copy(condition_keys, keys.begin() + Before);
    std::ranges::copy(after, keys.begin() + Before + condition_keys.size());
    return keys;
}
constexpr auto rule_keys = with_conditions({"name"}, {"action", "use", "style", "log", "verify"});
constexpr auto row_keys = with_conditions({"name"}, {"action", "style", "log", "verify"});

// What `use:` may name, and the profiles that each stands for.
using Uses = std::map<std::string, std::vector<std::size_t>, std::less<>>;

// What rules and rows may name, and what holds where they are silent.
struct Surroundings {
    NamedSets sets;
    Verify verify = Verify::off;
};

// One place for the names of rules and rows: logs show nothing else.
class RuleNames {
  public:
    void add(const Rule& rule, const YamlReader& entry) {
        auto [first, is_new] = lines_.emplace(rule.name, rule.line);
        if (is_new) return;
        entry.fail("expected a name of its own for each rule, found " + quote(rule.name) +
                   " again (first on line " + std::to_string(first->second) + ")");
    }
    bool has(const std::string& name) const { return lines_.contains(name); }

  private:
    std::map<std::string, int> lines_;
};

Rule read_rule(const YamlReader& value, const Surroundings& around, const Uses& uses) {
    constexpr std::string_view wanted = "a rule (a mapping with name: and action:)";
    YamlMapping mapping = value.mapping(wanted, rule_keys);
    Rule rule;
    rule.line = value.line();
    rule.column = value.column();
    rule.name = read_name(mapping.at("name"));
    bool any = false;
    rule.when = read_conditions(mapping, around.sets, &any);
    const YamlReader* use = mapping.find("use");
    if (use == nullptr) {
        rule.outcome = read_outcome(mapping, around.verify);
        return rule;
    }
    for (std::string_view key : {"action", "style", "log", "verify"}) {
        if (const YamlReader* other = mapping.find(key)) {
            other->fail("expected use: without " + std::string(key) +
                        ": (the profile's rows have it), found both");
        }
    }
    rule.use = use->text("the name of a profile or a group");
    auto found = uses.find(rule.use);
    if (found == uses.end()) {
        std::vector<std::string_view> known;
        for (const auto& [name, unused] : uses)
            known.push_back(name);
        use->fail("expected the name of a profile or a group, found " + quote(rule.use) +
                  YamlReader::suggestion(rule.use, known));
    }
    rule.profiles = found->second;
    return rule;
}

std::vector<Rule> read_rules(const YamlReader& value, const Surroundings& around, const Uses& uses,
                             RuleNames& names) {
    std::vector<Rule> rules;
    for (const YamlReader& entry : value.mappings("a list of rules")) {
        rules.push_back(read_rule(entry, around, uses));
        names.add(rules.back(), entry);
    }
    return rules;
}

// Of a profile, a group or a row.
std::string read_short_name(const YamlReader& value) {
    constexpr std::string_view wanted = "a name of 1 to 31 characters of printable ASCII without a slash";
    std::string name = value.text(wanted);
    bool fits = std::ranges::all_of(name, [](char c) { return c >= 0x20 && c < 0x7f && c != '/'; });
    if (name.empty() || name.size() > profile_name_bytes_max || !fits) value.fail_expecting(wanted);
    return name;
}

Rule read_row(const YamlReader& value, const std::string& profile, std::size_t number,
              const Surroundings& around, const RuleNames& names) {
    YamlMapping mapping = value.mapping("a row (a mapping with action:)", row_keys);
    Rule row;
    row.line = value.line();
    row.column = value.column();
    bool any = false;
    row.when = read_conditions(mapping, around.sets, &any);
    if (row.when.empty() && !any) value.fail("expected a condition in a row, or match: any, found neither");
    row.outcome = read_outcome(mapping, around.verify);
    const YamlReader* name = mapping.find("name");
    std::string default_rows = any ? "any" : row.when.uncategorized ? "uncategorized" : "";
    if (name != nullptr) {
        row.name = profile + "/" + read_short_name(*name);
    } else if (!default_rows.empty() && !names.has(profile + "/" + default_rows)) {
        row.name = profile + "/" + default_rows;
    } else {
        row.name = profile + "/" + std::to_string(number);
    }
    return row;
}

Profile read_profile(const YamlReader& value, const Surroundings& around, RuleNames& names) {
    YamlMapping mapping =
        value.mapping("a profile (a mapping with name: and rows:)", {"name", "enforce", "rows"});
    Profile profile;
    profile.line = value.line();
    profile.column = value.column();
    profile.name = read_short_name(mapping.at("name"));
    if (const YamlReader* enforce = mapping.find("enforce")) profile.enforce = enforce->flag();
    for (const YamlReader& entry : mapping.at("rows").mappings("a list of rows")) {
        profile.rows.push_back(read_row(entry, profile.name, profile.rows.size() + 1, around, names));
        names.add(profile.rows.back(), entry);
    }
    return profile;
}

void add_use(Uses& uses, const std::string& name, std::vector<std::size_t> profiles,
             const YamlReader& entry) {
    if (!uses.emplace(name, std::move(profiles)).second) {
        entry.fail("expected a name of its own for each profile and group, found " + quote(name) + " again");
    }
}

std::vector<Profile> read_profiles(const YamlReader& value, const Surroundings& around, Uses& uses,
                                   RuleNames& names) {
    std::vector<Profile> profiles;
    for (const YamlReader& entry : value.mappings("a list of profiles")) {
        profiles.push_back(read_profile(entry, around, names));
        add_use(uses, profiles.back().name, {profiles.size() - 1}, entry);
    }
    return profiles;
}

void read_groups(const YamlReader& value, Uses& uses) {
    const Uses profiles = uses;  // a group holds profiles, no groups
    for (const YamlReader& entry : value.mappings("a list of groups")) {
        YamlMapping mapping =
            entry.mapping("a group (a mapping with name: and profiles:)", {"name", "profiles"});
        std::vector<std::size_t> numbers;
        for (const YamlReader& profile : mapping.at("profiles").entries("a profile's name")) {
            auto found = profiles.find(profile.text("a profile's name"));
            if (found == profiles.end()) profile.fail_expecting("the name of a profile above");
            if (std::ranges::find(numbers, found->second.front()) != numbers.end()) {
                profile.fail("expected each profile once in a group, found " + quote(found->first) +
                             " again");
            }
            numbers.push_back(found->second.front());
        }
        add_use(uses, read_short_name(mapping.at("name")), std::move(numbers), entry);
    }
}

}  // namespace

Policy read_policy(const YamlReader& section) {
    YamlMapping mapping = section.mapping("a policy (a mapping with default:)",
                                          {"default", "malformed", "verify", "on_reload", "lists",
                                           "prepared_lists", "sets", "profiles", "groups", "rules"});
    Surroundings around;
    if (const YamlReader* value = mapping.find("verify"))
        around.verify = static_cast<Verify>(value->word(verify_words));
    Outcome fallback = read_short_outcome(mapping.at("default"), around.verify);
    Outcome malformed = malformed_when_silent;
    if (const YamlReader* value = mapping.find("malformed")) malformed = read_malformed(*value);
    if (const YamlReader* value = mapping.find("sets")) around.sets = read_sets(*value);
    ListSources sources;
    sources.file = section.file();
    if (const YamlReader* value = mapping.find("lists")) sources.lists = read_lists(*value);
    if (const YamlReader* value = mapping.find("prepared_lists")) sources.prepared = value->text("a path");
    around.sets.lists = sources.lists;
    RuleNames names;
    Uses uses;
    std::vector<Profile> profiles;
    if (const YamlReader* value = mapping.find("profiles"))
        profiles = read_profiles(*value, around, uses, names);
    if (const YamlReader* value = mapping.find("groups")) read_groups(*value, uses);
    std::vector<Rule> rules;
    if (const YamlReader* value = mapping.find("rules")) rules = read_rules(*value, around, uses, names);
    Policy policy(std::move(rules), fallback, malformed, std::move(profiles));
    policy.set_list_sources(std::move(sources));
    if (const YamlReader* value = mapping.find("on_reload"))
        policy.set_on_reload(static_cast<OnReload>(value->word(on_reload_words)));
    return policy;
}

}  // namespace sluice::policy
