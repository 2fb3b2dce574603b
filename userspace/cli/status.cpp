// `sluice status`: the agent, its totals, its splice modes.
#include <cstdio>
#include <memory>
#include <string>

#include "userspace/cli/commands.h"
#include "userspace/cli/flow_view.h"
#include "userspace/cli/live_flows.h"
#include "userspace/datapath/capture_watch.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/monotonic.h"
#include "userspace/text/json.h"

namespace sluice::cli {
namespace {

std::string_view splice_choice(const agent_record& agent) {
    return agent.splice_configured == SPLICE_MODE_none ? "auto"
                                                       : datapath::splice_mode_word(agent.splice_configured);
}

std::string_view plural(std::uint32_t count) {
    return count == 1 ? "" : "s";
}

// What happens to captured traffic at this moment, in the caller's network namespace.
std::string_view capture_state(bool running) {
    try {
        if (!datapath::capture_is_installed())
            return running ? "no rules of sluice here" : "none: traffic is forwarded";
        return running ? "rules installed"
                       : "rules installed and no agent: captured traffic is BLOCKED (sluice run serves it, "
                         "sluice remove lets it pass)";
    } catch (const datapath::CaptureError&) {
        return "unknown: needs CAP_NET_ADMIN to see";
    }
}

void print_json(const agent_record& agent, bool running) {
    fmt::memory_buffer out;
    {
        text::JsonObject object(out);
        object.add("running", running);
        object.add("version", agent.version);
        object.add("abi_version", agent.abi_version);
        object.add("pid", agent.pid);
        object.add("uptime_ms", running ? (datapath::monotonic_ns() - agent.started_ns) / 1'000'000 : 0);
        object.add("capture", capture_state(running));
        object.add("splice", splice_choice(agent));
        object.add("sockmap_test", agent.sockmap_test);
        object.add("policy_rules", agent.policy_rules);
        object.add("policy_reloads", agent.policy_reloads);
        object.add("reload_refused", agent.reload_refused != 0);
        object.add("flows_live", agent.flows_live);
        object.add("flows_max", agent.flows_live_max);
        object.add("sockets_open", running ? agent.sockets_open : 0);
        object.add("sockets_max", agent.sockets_max);
        object.add("flows_accepted", agent.flows_accepted);
        object.add("bytes_up", agent.bytes_up);
        object.add("bytes_down", agent.bytes_down);
        object.add("log_lines_lost", agent.log_lines_lost);
        object.add("names_known", agent.names_known);
        object.add("names_addresses", agent.names_addresses);
        object.add("names_asked", agent.names_asked);
        object.add("names_failed", agent.names_failed);
        object.add("names_overheard", agent.names_overheard);
        for (unsigned end = FLOW_END_closed; end < FLOW_END_COUNT; ++end) {
            object.add(fmt::format("end_{}", datapath::flow_end_word(end)), agent.flow_ends[end]);
        }
    }
    fmt::print("{}\n", fmt::to_string(out));
}

void print_text(const agent_record& agent, bool running) {
    const auto line = [](std::string_view what, const std::string& value) {
        fmt::print("{:<29}{}\n", what, value);
    };
    if (running) {
        line("agent", fmt::format("running, pid {}, version {}, up {}", agent.pid, agent.version,
                                  human_duration(datapath::monotonic_ns() - agent.started_ns)));
    } else {
        line("agent", fmt::format("not running (last: pid {}, version {})", agent.pid, agent.version));
    }
    line("splice", fmt::format("{}; of the modes packet, sockmap and relay only the first outlives the agent",
                               splice_choice(agent)));
    line("sockmap self-test", fmt::format("{}; auto does not choose this mode",
                                          agent.sockmap_test[0] != '\0' ? agent.sockmap_test : "not run"));
    line("capture", std::string(capture_state(running)));
    line("policy",
         fmt::format("{} rule{}, reloaded {} time{}{}", agent.policy_rules, plural(agent.policy_rules),
                     agent.policy_reloads, plural(agent.policy_reloads),
                     agent.reload_refused != 0 ? "; the last reload was REFUSED, the log says why" : ""));
    line("flows",
         fmt::format(
             "{} live of at most {}, {} accepted{}", agent.flows_live, agent.flows_live_max,
             agent.flows_accepted,
             !running && agent.flows_live > 0 ? "; they need no agent, and sluice remove ends them" : ""));
    line("sockets", fmt::format("{} open of at most {} (the descriptor limit)",
                                running ? agent.sockets_open : 0, agent.sockets_max));
    line("bytes", fmt::format("{} up, {} down, of flows that ended", human_bytes(agent.bytes_up),
                              human_bytes(agent.bytes_down)));
    if (agent.names_asked + agent.names_overheard > 0) {
        line("names", fmt::format("{} known with {} addresses; {} questions, {} failed; {} answers overheard",
                                  agent.names_known, agent.names_addresses, agent.names_asked,
                                  agent.names_failed, agent.names_overheard));
    }
    line("log lines lost", fmt::format("{}", agent.log_lines_lost));
    if (agent.flows_accepted > 0) fmt::print("ended\n");
    for (unsigned end = FLOW_END_closed; end < FLOW_END_COUNT; ++end) {
        if (agent.flow_ends[end] == 0) continue;
        line(fmt::format("  {}", datapath::flow_end_word(end)), fmt::format("{}", agent.flow_ends[end]));
    }
}

}  // namespace

void add_status(CLI::App& app, const std::string& state_directory, int& exit_code) {
    auto json = std::make_shared<bool>(false);
    CLI::App* status = app.add_subcommand("status", "the agent, its totals, its splice modes");
    status->add_flag("--json", *json, "one JSON object");
    status->callback([json, &state_directory, &exit_code] {
        const LiveTables tables(state_directory);
        agent_record agent = tables.carried.read_agent();
        // One that has written nothing yet is starting.
        const bool running = tables.carried.agent_is_running() && agent.pid != 0;
        if (!running) agent.flows_live = tables.packets ? tables.packets->size() : 0;
        *json ? print_json(agent, running) : print_text(agent, running);
        exit_code = running ? 0 : 3;  // as of LSB: the program is not running
    });
}

}  // namespace sluice::cli
