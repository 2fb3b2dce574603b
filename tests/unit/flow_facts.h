#pragma once
// What is known of a flow from 10.1.2.3:40000 to 192.0.2.1:443.
#include <string_view>

#include "policy/facts.h"

namespace sluice::policy {

inline Facts flow_facts(Protocol protocol, std::string_view server_name = {}) {
    Facts facts;
    facts.source = Endpoint::parse("10.1.2.3:40000").value();
    facts.destination = Endpoint::parse("192.0.2.1:443").value();
    facts.protocol = protocol;
    facts.server_name = server_name;
    return facts;
}

}  // namespace sluice::policy
