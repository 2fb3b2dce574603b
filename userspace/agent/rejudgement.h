#pragma once
// What a policy makes of a flow that lives already.
#include <chrono>
#include <functional>
#include <optional>
#include <string_view>

#include "bpf/flow_abi.h"
#include "policy/policy.h"

namespace sluice::agent {

struct Rejudgement {
    bool ends = false;
    std::string_view rule;  // that says so, or that lets it go on: of the policy. Empty: nobody was asked
    bool is_known = true;   // false: not all is known that it was judged by, so that it may not go on
};

// The MAC address of the neighbour that has this address; datapath::Neighbours.
using MacOf = std::function<std::optional<policy::MacAddress>(const policy::IpAddress&)>;

// By what the flow table has of the flow, at this `time`. A flow that has not been judged yet goes on: it
// will be. `on_reload` stands for that of the policy. `mac_of`: asked for the client's when the policy asks
// for it and that by which the flow was judged did not.
Rejudgement rejudge(const policy::Policy& policy, policy::OnReload on_reload, const flow_record& flow,
                    std::chrono::sys_seconds time, const MacOf& mac_of);

}  // namespace sluice::agent
