#pragma once
// What a flow has besides, when its client came to the gateway's own proxy and asked for a destination.
#include <cstdint>
#include <string>

#include "bpf/flow_abi.h"
#include "policy/address.h"
#include "policy/facts.h"

namespace sluice::agent {

struct Proxied {
    policy::Endpoint listener;                // the gateway's end of the client's leg
    policy::Via via = policy::Via::captured;  // until the first byte says what the client speaks
    std::string asked_name;                   // canonical; empty: it asked for an address
    // Bytes of the client's leg that belong to its talk with the proxy: the splice begins behind them.
    std::uint32_t request_bytes = 0;
    std::uint32_t answer_bytes = 0;
    bool answered = false;      // it has been told that it is connected
    std::uint16_t why_not = 0;  // of a request that cannot be met: an HTTP status, or a SOCKS reply
};

// What the client is to be told when its flow ends before it is connected; empty: nothing.
std::string proxy_refusal(const Proxied& proxied, flow_end why);

// That it is connected.
std::string_view proxy_success(policy::Via via);

// SOCKS: which method is taken, none or no authentication.
std::string_view socks_method(bool no_authentication);

}  // namespace sluice::agent
