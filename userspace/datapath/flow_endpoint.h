#pragma once
// The addresses of a flow record (bpf/flow_abi.h).
#include "bpf/flow_abi.h"
#include "policy/address.h"

namespace sluice::datapath {

policy::Endpoint endpoint(const flow_endpoint& endpoint);
flow_endpoint abi_endpoint(const policy::Endpoint& endpoint);

// Whether the gateway has gone to another address than the client has dialled.
bool is_dialled_elsewhere(const flow_record& flow);

}  // namespace sluice::datapath
