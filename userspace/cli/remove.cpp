// `sluice remove`: takes everything of sluice's out of this host's kernel, which `sluice run` leaves there on
// purpose when it stops: packet-spliced flows with their programs, and the flow table. Capture rules too,
// should a killed agent have left them.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "userspace/cli/commands.h"
#include "userspace/datapath/capture.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/packet_splice.h"

namespace sluice::cli {
namespace {

bool agent_is_running(const std::string& state_directory) {
    try {
        return datapath::FlowTable::open(state_directory).agent_is_running();
    } catch (const datapath::StateError&) {
        return false;  // nothing here, or another version's: that is removed as well
    }
}

// Its ends are told: without us, each would talk to the other in numbers that the other does not know.
void end_flows(const std::string& state_directory) {
    try {
        auto splice = datapath::PacketSplice::open(state_directory);
        for (const flow_record& flow : splice.list())
            splice.kill(flow.id);
    } catch (const datapath::StateError&) {
        return;
    }
}

int remove_all(const std::string& state_directory) {
    if (agent_is_running(state_directory)) {
        std::fprintf(stderr, "sluice remove: an agent is running: stop it first\n");
        return 1;
    }
    datapath::remove_capture({});
    end_flows(state_directory);
    datapath::PacketSplice::remove_all(state_directory);
    std::error_code error;
    std::filesystem::remove_all(state_directory, error);
    if (!error) return 0;
    std::fprintf(stderr, "sluice remove: %s: %s\n", state_directory.c_str(), error.message().c_str());
    return 1;
}

}  // namespace

void add_remove(CLI::App& app, const std::string& state_directory, int& exit_code) {
    CLI::App* remove = app.add_subcommand(
        "remove", "ends all flows and takes everything of sluice's out of the kernel; no agent may run");
    remove->callback([&state_directory, &exit_code] { exit_code = remove_all(state_directory); });
}

}  // namespace sluice::cli
