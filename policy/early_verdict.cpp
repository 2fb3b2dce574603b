#include "policy/early_verdict.h"

#include <algorithm>
#include <array>

namespace sluice::policy {
namespace {

// Whether some rule asks for what only the first bytes will tell, besides the protocol.
bool is_open(const Policy& policy, bool has_name, bool has_destination) {
    const auto asks = [&](Condition condition) { return policy.asks_for(condition); };
    constexpr std::array said = {Condition::ech, Condition::alpn, Condition::ja4, Condition::ssh_version,
                                 Condition::ssh_server_version};
    constexpr std::array of_name = {Condition::server_name, Condition::match, Condition::list,
                                    Condition::category};
    return std::ranges::any_of(said, asks) || (!has_name && std::ranges::any_of(of_name, asks)) ||
           (!has_destination && asks(Condition::destination));
}

}  // namespace

std::optional<Verdict> early_verdict(const Policy& policy, const Facts& facts, bool has_destination) {
    if (is_open(policy, !facts.server_name.empty(), has_destination)) return std::nullopt;
    Facts known = facts;
    std::optional<Verdict> verdict;
    for (const Protocol protocol : rule_protocols) {
        for (const bool client_is_silent : {false, true}) {
            known.protocol = protocol;
            known.client_was_silent = client_is_silent;
            const Verdict of_protocol = policy.judge(known);
            if (verdict && verdict->outcome.action != of_protocol.outcome.action) return std::nullopt;
            if (!verdict) verdict = of_protocol;
        }
    }
    return verdict;
}

}  // namespace sluice::policy
