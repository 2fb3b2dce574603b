#pragma once
// What may pass. A policy is read once, then only asked: judge() is const, allocates nothing and may be called from
// every worker at once.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "policy/address.h"
#include "policy/rule.h"

namespace sluice::policy {

// Ordered rules: the first one whose every condition holds decides. When none does, `fallback` does (in the file:
// `default`). A flow that claims to be TLS and whose hello cannot be understood (malformed, too long, too late) has no
// facts to judge by: no rule that could allow it is asked, `malformed` decides.
class Policy {
  public:
    Policy(std::vector<Rule> rules, Outcome fallback, Outcome malformed);

    // Which rule decides, and what. The verdict's `rule` points into this policy. Never fails: some outcome always exists.
    Verdict judge(const Facts& facts) const;

    const std::vector<Rule>& rules() const { return rules_; }

  private:
    std::vector<Rule> rules_;
    Outcome fallback_;
    Outcome malformed_;
};

}  // namespace sluice::policy
