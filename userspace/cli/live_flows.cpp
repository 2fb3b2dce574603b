#include "userspace/cli/live_flows.h"

#include <algorithm>
#include <iterator>

namespace sluice::cli {

LiveTables::LiveTables(const std::string& state_directory)
    : carried(datapath::FlowTable::open(state_directory)) {
    try {
        packets.emplace(datapath::PacketSplice::open(state_directory));
    } catch (const datapath::StateError&) {
        // No agent has used that mode here.
    }
}

// Flows whose bytes an agent carries end with it: without one their records are only left over.
std::vector<flow_record> live_flows(const LiveTables& tables) {
    std::vector<flow_record> flows;
    if (tables.carried.agent_is_running()) flows = tables.carried.list();
    if (tables.packets) std::ranges::copy(tables.packets->list(), std::back_inserter(flows));
    std::ranges::sort(flows, {}, &flow_record::id);
    return flows;
}

}  // namespace sluice::cli
