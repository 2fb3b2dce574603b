#pragma once
// What a policy says of a flow whose client has named a destination, and said nothing else yet.
#include <optional>

#include "policy/policy.h"

namespace sluice::policy {

// The verdict that the flow will get whatever it turns out to be; nothing when that depends on what its
// client will say. Of `facts` the protocol is not looked at, and neither is what a client says. The server
// name is the one that was asked for. It may turn out to have another one, too, and a flow that has two is
// denied when one of them is: so a denial is certain, and an allowance is for what is known.
// `has_destination`: false while only the destination's port is known.
std::optional<Verdict> early_verdict(const Policy& policy, const Facts& facts, bool has_destination);

}  // namespace sluice::policy
