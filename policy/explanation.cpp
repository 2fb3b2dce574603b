#include "policy/explanation.h"

#include <algorithm>
#include <utility>

namespace sluice::policy {
namespace {

std::string text_or(std::string_view text, std::string_view none) {
    return std::string(text.empty() ? none : text);
}

std::string alpn_text(const Facts& facts) {
    std::string text;
    for (const std::string& id : facts.alpn)
        text += (text.empty() ? "" : ",") + id;
    return text_or(text, "(none)");
}

// The fact that a condition is about.
std::string fact(Condition condition, const Conditions& when, const Facts& facts) {
    std::string word(to_string(condition));
    switch (condition) {
        case Condition::source:
            return word + " " + facts.source.address.to_string();
        case Condition::mac:
            return word + " " + (facts.mac ? facts.mac->to_string() : "(unknown)");
        case Condition::destination:
            return word + " " + facts.destination.address.to_string();
        case Condition::port:
            return word + " " + std::to_string(facts.destination.port);
        case Condition::protocol:
            word += " " + std::string(to_string(facts.protocol));
            return facts.client_was_silent ? word + " (the server spoke first)" : word;
        case Condition::via:
            return word + " " + std::string(to_string(facts.via));
        case Condition::ech:
            return word + " " + std::string(to_string(facts.ech));
        case Condition::alpn:
            return word + " " + alpn_text(facts);
        case Condition::ja4:
            return word + " " + text_or(facts.ja4, "(none)");
        case Condition::ssh_version:
            return word + " " + text_or(facts.ssh_version, "(none)");
        case Condition::ssh_server_version:
            return word + " " + text_or(facts.ssh_server_version, "(none)");
        case Condition::time:
            return word + " " + when.times.front().clock_at(facts.time);
        case Condition::server_name:
        case Condition::match:
        case Condition::list:
        case Condition::category:
            word = to_string(Condition::server_name);
            if (facts.is_malformed()) return word + " (unknown: malformed)";
            return word + " " + text_or(facts.server_name, "(none)");
        case Condition::any_of:
        case Condition::none_of:
            break;
    }
    return word;
}

template <typename Set>
std::string with_name(std::string entry, const Set& set) {
    return set.name().empty() ? entry : entry + " of set " + set.name();
}

// Of addresses, or of MAC addresses.
template <typename Set, typename Address>
std::string address_entry(const std::vector<std::shared_ptr<const Set>>& sets, const Address& address) {
    for (const auto& set : sets) {
        if (const auto* prefix = set->find(address)) return with_name(prefix->to_string(), *set);
    }
    return "";
}

std::string name_entry(const Conditions& when, const Facts& facts) {
    if (facts.server_name.empty()) return "none";
    for (const auto& set : when.server_names) {
        if (const NamePattern* pattern = set->find(facts.server_name))
            return with_name(pattern->text(), *set);
    }
    return "";
}

std::string text_entry(const std::vector<TextPattern>& patterns, std::string_view text) {
    auto entry = std::ranges::find_if(patterns, [&](const auto& p) { return p.matches(text); });
    return entry == patterns.end() ? "" : entry->text();
}

std::string entry_that_holds(Condition condition, const Conditions& when, const Facts& facts) {
    switch (condition) {
        case Condition::source:
            return address_entry(when.sources, facts.source.address);
        case Condition::mac:
            return address_entry(when.macs, *facts.mac);  // else it would not hold
        case Condition::destination:
            return address_entry(when.destinations, facts.destination.address);
        case Condition::port: {
            auto holds = [&](const PortRange& range) { return range.contains(facts.destination.port); };
            return std::ranges::find_if(when.ports, holds)->to_string();
        }
        case Condition::protocol: {
            const bool by_word =
                std::ranges::find(when.protocols, facts.claimed_protocol()) != when.protocols.end();
            return std::string(to_string(by_word ? facts.claimed_protocol() : Protocol::server_first));
        }
        case Condition::server_name:
            return name_entry(when, facts);
        case Condition::ja4:
            return text_entry(when.ja4, facts.ja4);
        case Condition::ssh_version:
            return text_entry(when.ssh_versions, facts.ssh_version);
        case Condition::ssh_server_version:
            return text_entry(when.ssh_server_versions, facts.ssh_server_version);
        case Condition::via:
        case Condition::match:
        case Condition::list:
        case Condition::category:
        case Condition::ech:
        case Condition::alpn:
        case Condition::time:
        case Condition::any_of:
        case Condition::none_of:
            break;
    }
    return "";
}

// The lists that the condition asks for and that know the name, each with its entry that covers the name; or
// that none does.
void add_lists(const ListCondition& asked, const Facts& facts, const ListCatalog* catalog,
               std::vector<std::string>& out) {
    const std::string subject = "server_name " + std::string(facts.server_name);
    if (facts.is_uncategorized()) return out.push_back(subject + " is in no list: uncategorized");
    const auto found = catalog->names().trace(facts.server_name);
    (asked.lists & facts.lists).for_each([&](std::size_t list) {
        const ListInfo& info = (*catalog)[list];
        std::string reason = subject + " is in list " + info.list;
        if (!info.category.empty()) reason += ", category " + info.category;
        auto entry = std::find_if(found.rbegin(), found.rend(), [&](const NameSet::Found& suffix) {
            return suffix.sources.subtree.contains(list) || suffix.sources.exact.contains(list);
        });
        if (entry != found.rend()) reason += ", as " + std::string(entry->suffix);
        out.push_back(std::move(reason));
    });
}

void add_reasons(const Conditions& when, const Facts& facts, const ListCatalog* catalog,
                 std::vector<std::string>& out) {
    for (std::size_t i = 0; i < condition_words.size(); ++i) {
        auto condition = static_cast<Condition>(i);
        if (!when.has(condition)) continue;
        if (condition == Condition::none_of) {
            out.push_back("nothing under not holds");
            continue;
        }
        if (condition == Condition::list || condition == Condition::category ||
            condition == Condition::match) {
            add_lists(condition == Condition::list ? when.lists : when.categories, facts, catalog, out);
            continue;
        }
        std::string entry = entry_that_holds(condition, when, facts);
        out.push_back(fact(condition, when, facts) + (entry.empty() ? " holds" : " matches " + entry));
    }
}

std::string unmet_text(Condition condition, const Conditions& when, const Facts& facts) {
    if (condition == Condition::none_of) return "what is under not holds";
    if (condition == Condition::any_of) return "nothing under any_of holds";
    const std::string subject = fact(condition, when, facts);
    if (condition == Condition::list) return subject + " is not in its lists";
    if (condition == Condition::category) return subject + " is not in its categories";
    if (condition == Condition::match && !facts.lists.empty()) return subject + " is in a list";
    return subject + " does not match";
}

std::string place(const Rule& rule) {
    return rule.name + " (line " + std::to_string(rule.line) + ")";
}

// Why a step did not decide.
std::string passed_over(const Step& step, const Facts& facts) {
    if (auto unmet = step.rule->unmet(facts)) {
        return place(*step.rule) + ": " + unmet_text(*unmet, step.rule->when, facts);
    }
    if (step.needs_mac && !facts.mac) {
        return place(*step.rule) +
               ": a rule that allows and has mac under not is not asked: the client's is unknown";
    }
    if (!Policy::is_asked(step, facts)) {
        return place(*step.rule) + ": a rule that allows is not asked for a malformed hello";
    }
    return place(*step.rule) + ": would " + std::string(to_string(step.rule->outcome.action)) +
           ", but profile " + step.profile->name + " is not enforced";
}

}  // namespace

Explanation explain(const Policy& policy, const Facts& known_facts) {
    const Facts facts = policy.complete(known_facts);
    Explanation out;
    out.verdict = policy.judge(facts);
    const Rule* absent_user = nullptr;  // its profiles' rows are told of in one line
    for (const Step& step : policy.steps()) {
        bool matches = step.matches(facts) && Policy::is_asked(step, facts);
        if (out.decider != nullptr) {
            if (matches) {
                out.shadowed.push_back(place(*step.rule) + ": would " +
                                       std::string(to_string(step.rule->outcome.action)));
            }
        } else if (matches && step.enforced()) {
            out.decider = &step;
        } else if (step.user != nullptr && !step.user->matches(facts)) {
            if (std::exchange(absent_user, step.user) == step.user) continue;
            const Conditions& when = step.user->when;
            out.passed_over.push_back(place(*step.user) + ": " + unmet_text(*when.unmet(facts), when, facts));
        } else {
            out.passed_over.push_back(passed_over(step, facts));
        }
    }
    if (out.decider == nullptr) {
        out.because.push_back(policy.steps().empty() ? "there are no rules" : "no rule matches");
        return out;
    }
    if (out.decider->user != nullptr)
        add_reasons(out.decider->user->when, facts, policy.lists(), out.because);
    add_reasons(out.decider->rule->when, facts, policy.lists(), out.because);
    if (out.because.empty()) {
        out.because.push_back(out.decider->profile != nullptr ? "the row is for any flow"
                                                              : "the rule has no conditions");
    }
    return out;
}

}  // namespace sluice::policy
