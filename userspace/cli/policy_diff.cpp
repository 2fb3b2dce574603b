// `sluice policy diff`: what another policy would change, rule by rule, or flow by flow of a past log.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "policy/rule_text.h"
#include "userspace/agent/config.h"
#include "userspace/cli/commands.h"
#include "userspace/cli/past_flow.h"
#include "userspace/text/json.h"

namespace sluice::cli {
namespace {

constexpr int exit_same = 0;
constexpr int exit_mistake = 1;
constexpr int exit_differs = 3;
// Differences beyond so many are counted, and not listed.
constexpr std::size_t differences_max = 10'000;

struct DiffOptions {
    std::string old_file;
    std::string new_file;
    std::string log;
    bool json = false;
};

std::string decision(const policy::Verdict& verdict) {
    return fmt::format("{} by {}", policy::to_string(verdict.outcome.action), verdict.rule);
}

// Verdicts that a client or an operator could tell apart.
bool differ(const policy::Verdict& a, const policy::Verdict& b) {
    if (a.outcome.action != b.outcome.action) return true;
    return !a.allowed() && a.outcome.style != b.outcome.style;
}

// Flows that are alike in all that is shown are one line.
struct Difference {
    std::string source, destination, protocol, server_name, before, after;
    auto operator<=>(const Difference&) const = default;
};
struct Seen {
    std::size_t flows = 0;
    std::string last;
};
using Differences = std::map<Difference, Seen>;

void print_text(const Differences& differences) {
    for (const auto& [flow, seen] : differences) {
        fmt::print("{:>7}  {} -> {}  {}  {}  {} => {}  (last {})\n", seen.flows, flow.source,
                   flow.destination, flow.protocol,
                   flow.server_name.empty() ? "-" : text::printable(flow.server_name), flow.before,
                   flow.after, text::printable(seen.last));
    }
}

void print_json(const Differences& differences) {
    for (const auto& [flow, seen] : differences) {
        fmt::memory_buffer out;
        {
            text::JsonObject object(out);
            object.add("flows", seen.flows)
                .add("source", flow.source)
                .add("destination", flow.destination)
                .add("protocol", flow.protocol)
                .add("server_name", flow.server_name)
                .add("old", flow.before)
                .add("new", flow.after)
                .add("last", seen.last);
        }
        fmt::print("{}\n", fmt::to_string(out));
    }
}

int diff_flows(const policy::Policy& before, const policy::Policy& after, const DiffOptions& options) {
    Differences differences;
    std::size_t denied = 0;
    std::size_t allowed = 0;
    std::size_t restyled = 0;
    std::size_t unlisted = 0;
    PastFlowCount count = read_past_flows(options.log, [&](const PastFlow& flow) {
        policy::Facts facts = flow.facts();
        policy::Verdict then = before.judge(facts);
        policy::Verdict now = after.judge(facts);
        if (!differ(then, now)) return;
        ++(then.allowed() == now.allowed() ? restyled : now.allowed() ? allowed : denied);
        Difference difference{facts.source.address.to_string(),
                              facts.destination.to_string(),
                              std::string(policy::to_string(facts.protocol)),
                              flow.server_name,
                              decision(then),
                              decision(now)};
        if (differences.size() >= differences_max && !differences.contains(difference)) {
            ++unlisted;
            return;
        }
        Seen& seen = differences[std::move(difference)];
        ++seen.flows;
        seen.last = std::max(seen.last, flow.time);
    });
    options.json ? print_json(differences) : print_text(differences);
    fmt::print(stderr, "{} verdicts: {} newly denied, {} newly allowed, {} denied in another way\n",
               count.flows, denied, allowed, restyled);
    if (unlisted > 0) fmt::print(stderr, "{} of them are not listed\n", unlisted);
    if (count.other_lines > 0) fmt::print(stderr, "{} lines are not of sluice's log\n", count.other_lines);
    return denied + allowed + restyled == 0 ? exit_same : exit_differs;
}

// Every rule and row by its name.
std::map<std::string, std::string> rule_texts(const policy::Policy& policy) {
    std::map<std::string, std::string> texts;
    for (const policy::Rule& rule : policy.rules())
        texts[rule.name] = policy::to_text(rule);
    for (const policy::Profile& profile : policy.profiles()) {
        for (const policy::Rule& row : profile.rows)
            texts[row.name] = policy::to_text(row) + (profile.enforce ? "" : ", not enforced");
    }
    policy::Rule fallback;
    fallback.outcome = policy.fallback();
    texts[std::string(policy::default_rule_name)] = policy::to_text(fallback);
    fallback.outcome = policy.malformed();
    texts[std::string(policy::malformed_rule_name)] = policy::to_text(fallback);
    return texts;
}

// Rules that stand in both, in the order of their turn.
std::vector<std::string> common_order(const policy::Policy& policy,
                                      const std::map<std::string, std::string>& others) {
    std::vector<std::string> names;
    for (const policy::Step& step : policy.steps()) {
        if (others.contains(step.rule->name)) names.push_back(step.rule->name);
    }
    return names;
}

void print_rule(char sign, const std::string& name, const std::string& text, const DiffOptions& options) {
    if (!options.json) return fmt::print("{} {}: {}\n", sign, name, text);
    fmt::memory_buffer out;
    {
        text::JsonObject object(out);
        object.add("change", sign == '-' ? "old" : "new").add("rule", name).add("text", text);
    }
    fmt::print("{}\n", fmt::to_string(out));
}

int diff_rules(const policy::Policy& before, const policy::Policy& after, const DiffOptions& options) {
    auto old_texts = rule_texts(before);
    auto new_texts = rule_texts(after);
    bool same = true;
    for (const auto& [name, text] : old_texts) {
        auto other = new_texts.find(name);
        if (other != new_texts.end() && other->second == text) continue;
        same = false;
        print_rule('-', name, text, options);
        if (other != new_texts.end()) print_rule('+', name, other->second, options);
    }
    for (const auto& [name, text] : new_texts) {
        if (old_texts.contains(name)) continue;
        same = false;
        print_rule('+', name, text, options);
    }
    if (common_order(before, new_texts) != common_order(after, old_texts)) {
        same = false;
        fmt::print(stderr, "rules that are in both stand in another order\n");
    }
    return same ? exit_same : exit_differs;
}

int run(const DiffOptions& options) {
    try {
        agent::Config before = agent::read_config(options.old_file);
        agent::Config after = agent::read_config(options.new_file);
        for (const agent::Config* config : {&before, &after}) {
            for (const std::string& warning : config->list_warnings)
                fmt::print(stderr, "{}\n", warning);
        }
        if (options.log.empty()) return diff_rules(*before.policy, *after.policy, options);
        return diff_flows(*before.policy, *after.policy, options);
    } catch (const policy::FileError& error) {
        fmt::print(stderr, "{}\n", error.what());
        return exit_mistake;
    }
}

}  // namespace

void add_policy_diff(CLI::App& app, int& exit_code) {
    auto options = std::make_shared<DiffOptions>();
    CLI::App* command = app.add_subcommand("diff", "say what another policy would change");
    command->add_option("old", options->old_file, "configuration file")->type_name("OLD")->required();
    command->add_option("new", options->new_file, "another one")->type_name("NEW")->required();
    command
        ->add_option("--against", options->log,
                     "log of past flows: list those that would be judged differently")
        ->type_name("LOG");
    command->add_flag("--json", options->json, "one JSON object a line instead of text");
    command->callback([options, &exit_code] { exit_code = run(*options); });
    command->footer("Exits 0 when nothing differs, 3 when something does, 1 when a file is wrong.");
}

}  // namespace sluice::cli
