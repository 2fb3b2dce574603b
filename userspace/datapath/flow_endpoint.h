#pragma once
// The addresses of a flow record (bpf/flow_abi.h).
#include "bpf/flow_abi.h"
#include "policy/address.h"

namespace sluice::datapath {

policy::Endpoint endpoint(const flow_endpoint& endpoint);

// Whether the gateway has gone to another address than the client has dialled.
bool is_dialled_elsewhere(const flow_record& flow);

flow_endpoint flow_endpoint_of(const policy::Endpoint& endpoint);

}  // namespace sluice::datapath
