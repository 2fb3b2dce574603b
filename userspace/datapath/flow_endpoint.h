#pragma once
// The addresses of a flow record (bpf/flow_abi.h).
#include "bpf/flow_abi.h"
#include "policy/address.h"

namespace sluice::datapath {

policy::Endpoint endpoint(const flow_endpoint& endpoint);

}  // namespace sluice::datapath
