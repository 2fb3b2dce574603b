#pragma once
// Where all live flows are: those that the agent carries, and those that no agent is needed for.
#include <optional>
#include <string>
#include <vector>

#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/packet_splice.h"

namespace sluice::cli {

struct LiveTables {
    explicit LiveTables(const std::string& state_directory);  // throws StateError

    datapath::FlowTable carried;
    std::optional<datapath::PacketSplice> packets;  // none: no agent has used that mode here
};

std::vector<flow_record> live_flows(const LiveTables& tables);  // by id

}  // namespace sluice::cli
