#pragma once
// What may pass. A policy is read once, then only asked: judge() is const, allocates nothing (but for RE2's
// bounded automaton) and may be called from every worker at once.
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "policy/list_catalog.h"
#include "policy/rule.h"
#include "policy/rule_index.h"

namespace sluice::policy {

// Names of verdicts that no rule gave; no rule may be called so.
inline constexpr std::string_view default_rule_name = "default";
inline constexpr std::string_view malformed_rule_name = "malformed";

// Ordered rules: the first one whose every condition holds decides. When none does, `fallback` does (in the
// file: `default`).
//
// A rule that uses profiles hands the flow to their rows, one profile after the other; when no row decides,
// the rules go on. The rows of a profile that is not enforced decide nothing. The first one that matches says
// what would have been: if it denies and the flow passes all the same, the verdict names it.
//
// A flow that began as TLS or HTTP and cannot be understood (malformed, too long, too late) has no name to
// judge by. No rule that allows is asked: it could be meant for someone else. Rules that deny are, as
// `malformed: allow` must not open what a rule shuts by address, port or protocol. When none of them matches,
// `malformed` decides.
//
// A client whose MAC address is not known has none that a condition holds for. Under `not` that would let it
// pass as somebody else: a rule that allows and has `mac` there is not asked.
class Policy {
  public:
    Policy(std::vector<Rule> rules, Outcome fallback, Outcome malformed, std::vector<Profile> profiles = {});
    Policy(Policy&&) = default;
    Policy& operator=(Policy&&) = default;

    // What the file says of lists. Until with_lists(), no list knows any name.
    void set_list_sources(ListSources sources) { list_sources_ = std::move(sources); }
    const ListSources& list_sources() const { return list_sources_; }
    // The same policy, with the lists that were read. Throws FileError when a rule asks for a category that
    // is in none.
    Policy with_lists(std::shared_ptr<const ListCatalog> lists) const;
    const ListCatalog* lists() const { return lists_.get(); }  // null: none

    // `keep` until it is set.
    void set_on_reload(OnReload on_reload) { on_reload_ = on_reload; }
    OnReload on_reload() const { return on_reload_; }

    // The facts, and which lists know the name, if anybody asks.
    Facts complete(const Facts& facts) const;

    // Which rule decides, and what. The verdict's names point into this policy. Never fails: some outcome
    // always exists. A flow that was asked for by another name than it has is judged by both, and denied when
    // one of them is.
    Verdict judge(const Facts& facts) const;

    // Whether any rule or row asks for it, so that a fact that costs something need not be found out.
    bool asks_for(Condition condition) const { return asked_for_ >> static_cast<unsigned>(condition) & 1; }

    const std::vector<Rule>& rules() const { return rules_; }
    const std::vector<Profile>& profiles() const { return profiles_; }
    const Outcome& fallback() const { return fallback_; }
    const Outcome& malformed() const { return malformed_; }
    std::span<const Step> steps() const { return steps_; }  // rules and rows, in the order of their turn
    // Whether this step has a say about such flows: for a malformed one, only what denies.
    static bool is_asked(const Step& step, const Facts& facts) {
        if (step.needs_mac && !facts.mac) return false;
        return !facts.is_malformed() || step.rule->outcome.action == Action::deny;
    }

  private:
    Verdict judge_by_name(const Facts& facts) const;
    void name_list(const Step& decider, const Facts& facts, Verdict& verdict) const;

    std::vector<Rule> rules_;
    std::vector<Profile> profiles_;
    std::vector<Step> steps_;  // points into the two above
    RuleIndex index_;
    std::uint32_t asked_for_;  // a bit for each condition
    Outcome fallback_;
    Outcome malformed_;
    OnReload on_reload_ = OnReload::keep;
    ListSources list_sources_;
    std::shared_ptr<const ListCatalog> lists_;
};

}  // namespace sluice::policy
