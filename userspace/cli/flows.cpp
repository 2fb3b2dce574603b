// `sluice flows`: live flows, from the pinned table; `sluice flows kill ID`: ends one.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "userspace/cli/commands.h"
#include "userspace/cli/flow_filter.h"
#include "userspace/cli/flow_view.h"
#include "userspace/cli/live_flows.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/monotonic.h"

namespace sluice::cli {
namespace {

constexpr std::chrono::seconds watch_interval{1};
// How long an agent may take to end a flow before we say that it did not.
constexpr std::chrono::seconds kill_patience{2};
constexpr std::chrono::milliseconds kill_poll{5};

struct FlowsOptions {
    bool json = false;
    bool watch = false;
    std::vector<std::string> filter;
    std::vector<std::uint64_t> kill;
};

std::vector<flow_record> live_flows(const LiveTables& tables, const FlowFilter& filter) {
    std::vector<flow_record> flows = cli::live_flows(tables);
    std::erase_if(flows, [&](const flow_record& flow) { return !filter.matches(flow); });
    return flows;
}

void print_flows(const LiveTables& tables, const FlowFilter& filter, bool json) {
    const auto now_ns = datapath::monotonic_ns();
    const auto flows = live_flows(tables, filter);
    if (!json) {
        std::fputs(cli::table(flows, now_ns).c_str(), stdout);
        if (!tables.carried.agent_is_running()) std::fputs("(no agent is running)\n", stdout);
        return;
    }
    for (const auto& flow : flows) {
        fmt::memory_buffer line;
        append_json(line, flow, now_ns);
        line.push_back('\n');
        std::fwrite(line.data(), 1, line.size(), stdout);
    }
}

int show(const std::string& state_directory, const FlowsOptions& options) {
    const auto filter = FlowFilter::parse(options.filter);
    if (!filter) {
        std::fprintf(stderr, "sluice flows: %s\n", filter.error().c_str());
        return 2;
    }
    const LiveTables tables(state_directory);
    const bool clears_screen = options.watch && !options.json && ::isatty(STDOUT_FILENO) != 0;
    for (;;) {
        if (clears_screen) std::fputs("\x1b[H\x1b[J", stdout);
        print_flows(tables, *filter, options.json);
        if (!options.watch || std::fflush(stdout) != 0) return 0;
        std::this_thread::sleep_for(watch_interval);
    }
}

int kill_one(LiveTables& tables, std::uint64_t id) {
    if (tables.packets && tables.packets->kill(id)) return 0;
    datapath::FlowTable& table = tables.carried;
    if (!table.agent_is_running()) {
        std::fprintf(stderr, "sluice flows kill: no agent is running\n");
        return 1;
    }
    if (!table.find(id)) {
        std::fprintf(stderr, "sluice flows kill: %llu: no such flow\n", static_cast<unsigned long long>(id));
        return 1;
    }
    const auto deadline = std::chrono::steady_clock::now() + kill_patience;
    bool asked = table.request_kill(id);
    while (asked && std::chrono::steady_clock::now() < deadline) {
        if (!table.find(id)) return 0;
        std::this_thread::sleep_for(kill_poll);
    }
    std::fprintf(stderr, "sluice flows kill: %llu: the agent did not answer\n",
                 static_cast<unsigned long long>(id));
    return 1;
}

int kill_all(const std::string& state_directory, const std::vector<std::uint64_t>& ids) {
    LiveTables tables(state_directory);
    int exit_code = 0;
    for (const auto id : ids)
        exit_code |= kill_one(tables, id);
    return exit_code;
}

}  // namespace

void add_flows(CLI::App& app, const std::string& state_directory, int& exit_code) {
    auto options = std::make_shared<FlowsOptions>();
    CLI::App* flows = app.add_subcommand("flows", "live flows");
    flows->add_flag("-w,--watch", options->watch, "again every second");
    flows->add_flag("--json", options->json, "one JSON object a line");
    flows->add_option(
        "FILTER", options->filter,
        "only flows that all terms hold for: source=CIDR destination=CIDR port=N server_name=PATTERN "
        "protocol=P via=V rule=R mode=M state=S id=N, or a word that occurs in one of these");
    CLI::App* kill = flows->add_subcommand("kill", "ends flows: both sides get an RST");
    kill->add_option("ID", options->kill, "of the flow, as `sluice flows` shows it")->required();
    flows->callback([options, kill, &state_directory, &exit_code] {
        exit_code =
            kill->parsed() ? kill_all(state_directory, options->kill) : show(state_directory, *options);
    });
}

}  // namespace sluice::cli
