#include "userspace/agent/rejudgement.h"

#include "policy/prospect.h"
#include "userspace/agent/recorded_facts.h"
#include "userspace/datapath/flow_endpoint.h"

namespace sluice::agent {

Rejudgement rejudge(const policy::Policy& policy, policy::OnReload on_reload, const flow_record& flow,
                    std::chrono::sys_seconds time, const MacOf& mac_of) {
    const bool is_judged = flow.protocol != static_cast<__u8>(policy::Protocol::unknown);
    if (on_reload == policy::OnReload::keep || !is_judged) return {};
    const bool kills = on_reload == policy::OnReload::kill;
    const auto known = RecordedFacts::read(flow);
    if (!known) return {.ends = true, .rule = {}, .is_known = false};
    policy::Facts facts = known->facts();
    facts.time = time;
    if (!facts.mac && policy.asks_for(policy::Condition::mac)) facts.mac = mac_of(facts.source.address);
    policy::Verdict verdict = policy::judge_so_far(policy, facts).verdict;
    // A pinned one must be allowed to where it goes as well (name_check.h).
    if (verdict.allowed() && datapath::is_dialled_elsewhere(flow)) {
        facts.destination = datapath::endpoint(flow.dialled);
        const policy::Verdict there = policy.judge(facts);
        if (!there.allowed()) verdict = there;
    }
    return {.ends = kills || !verdict.allowed(), .rule = verdict.rule};
}

}  // namespace sluice::agent
