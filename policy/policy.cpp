#include "policy/policy.h"

#include <algorithm>

#include "policy/quote.h"
#include "policy/yaml_reader.h"

namespace sluice::policy {
namespace {

// The same goes for a rule that hands its flows to a row that allows.
bool needs_mac(const Rule& rule, const Rule* user) {
    const auto asks = [](const Rule& r) { return r.when.ask_for_under_not(Condition::mac); };
    return rule.outcome.action == Action::allow && (asks(rule) || (user != nullptr && asks(*user)));
}

std::vector<Step> steps_of(const std::vector<Rule>& rules, const std::vector<Profile>& profiles) {
    std::vector<Step> steps;
    for (const Rule& rule : rules) {
        if (rule.use.empty()) steps.push_back({.rule = &rule, .needs_mac = needs_mac(rule, nullptr)});
        for (std::size_t number : rule.profiles) {
            const Profile& profile = profiles[number];
            for (const Rule& row : profile.rows)
                steps.push_back(
                    {.rule = &row, .user = &rule, .profile = &profile, .needs_mac = needs_mac(row, &rule)});
        }
    }
    return steps;
}

std::uint32_t asked_for(const std::vector<Step>& steps) {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < condition_words.size(); ++i) {
        auto condition = static_cast<Condition>(i);
        bool asked = std::ranges::any_of(steps, [&](const Step& step) {
            return step.rule->when.ask_for(condition) ||
                   (step.user != nullptr && step.user->when.ask_for(condition));
        });
        bits |= static_cast<std::uint32_t>(asked) << i;
    }
    return bits;
}

// Finds the lists that the conditions name, here and within.
void bind(const std::string& file, const ListCatalog& catalog, Conditions& when) {
    when.lists.lists = {};
    for (const ListCondition::Entry& entry : when.lists.entries)
        when.lists.lists |= catalog.of_list(entry.name);
    when.categories.lists = {};
    for (const ListCondition::Entry& entry : when.categories.entries) {
        if (entry.name == uncategorized_category) continue;
        const ListSet lists = catalog.of_category(entry.name);
        if (lists.empty()) {
            throw FileError(file, entry.line, entry.column,
                            "expected a category of some list, or uncategorized, found " + quote(entry.name));
        }
        when.categories.lists |= lists;
    }
    for (Conditions& within : when.any_of)
        bind(file, catalog, within);
    for (Conditions& within : when.none_of)
        bind(file, catalog, within);
}

}  // namespace

Policy::Policy(std::vector<Rule> rules, Outcome fallback, Outcome malformed, std::vector<Profile> profiles)
    : rules_(std::move(rules)),
      profiles_(std::move(profiles)),
      steps_(steps_of(rules_, profiles_)),
      index_(steps_),
      asked_for_(asked_for(steps_)),
      fallback_(fallback),
      malformed_(malformed) {}

Policy Policy::with_lists(std::shared_ptr<const ListCatalog> lists) const {
    std::vector<Rule> rules = rules_;
    std::vector<Profile> profiles = profiles_;
    for (Rule& rule : rules)
        bind(list_sources_.file, *lists, rule.when);
    for (Profile& profile : profiles) {
        for (Rule& row : profile.rows)
            bind(list_sources_.file, *lists, row.when);
    }
    Policy policy(std::move(rules), fallback_, malformed_, std::move(profiles));
    policy.on_reload_ = on_reload_;
    policy.list_sources_ = list_sources_;
    policy.lists_ = std::move(lists);
    return policy;
}

Facts Policy::complete(const Facts& facts) const {
    Facts complete = facts;
    complete.lists = {};
    const bool asked =
        asks_for(Condition::list) || asks_for(Condition::category) || asks_for(Condition::match);
    if (asked && lists_ && !facts.is_malformed() && !facts.server_name.empty())
        complete.lists = lists_->names().lookup(facts.server_name);
    return complete;
}

void Policy::name_list(const Step& decider, const Facts& facts, Verdict& verdict) const {
    auto list = decider.rule->when.list_of(facts);
    if (!list && decider.user != nullptr) list = decider.user->when.list_of(facts);
    if (list) {
        verdict.list = (*lists_)[*list].list;
        verdict.category = (*lists_)[*list].category;
    } else if (decider.rule->when.hold_uncategorized(facts) ||
               (decider.user != nullptr && decider.user->when.hold_uncategorized(facts))) {
        verdict.category = uncategorized_category;
    }
}

Verdict Policy::judge(const Facts& facts) const {
    Verdict verdict = judge_by_name(facts);
    if (facts.asked_name.empty() || facts.asked_name == facts.server_name || !verdict.allowed())
        return verdict;
    Facts asked = facts;
    asked.server_name = facts.asked_name;
    const Verdict by_asked_name = judge_by_name(asked);
    if (!by_asked_name.allowed()) return by_asked_name;
    if (verdict.would_deny.empty()) verdict.would_deny = by_asked_name.would_deny;
    verdict.outcome.log = verdict.outcome.log || by_asked_name.outcome.log;
    return verdict;
}

Verdict Policy::judge_by_name(const Facts& known_facts) const {
    const Facts facts = complete(known_facts);
    const Step* shadow = nullptr;  // what would have decided, had every profile been enforced
    const Step* decider = nullptr;
    index_.for_each_candidate(facts, [&](std::size_t i) {
        const Step& step = steps_[i];
        if (!is_asked(step, facts) || (shadow != nullptr && !step.enforced())) return false;
        if (!step.matches(facts)) return false;
        (step.enforced() ? decider : shadow) = &step;
        return step.enforced();
    });
    Verdict verdict{fallback_, default_rule_name};
    if (decider != nullptr) {
        verdict = {decider->rule->outcome, decider->rule->name};
        name_list(*decider, facts, verdict);
    } else if (facts.is_malformed()) {
        verdict = {malformed_, malformed_rule_name};
    }
    if (shadow != nullptr && shadow->rule->outcome.action == Action::deny && verdict.allowed()) {
        verdict.would_deny = shadow->rule->name;
        verdict.outcome.log = verdict.outcome.log || shadow->rule->outcome.log;
    }
    return verdict;
}

}  // namespace sluice::policy
