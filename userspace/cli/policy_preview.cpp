// `sluice policy preview`: which live flows another policy would cut.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "userspace/agent/config.h"
#include "userspace/agent/rejudgement.h"
#include "userspace/cli/commands.h"
#include "userspace/cli/flow_view.h"
#include "userspace/cli/live_flows.h"
#include "userspace/datapath/flow_endpoint.h"
#include "userspace/datapath/neighbours.h"
#include "userspace/text/json.h"

namespace sluice::cli {
namespace {

constexpr int exit_none = 0;
constexpr int exit_mistake = 1;
constexpr int exit_some = 3;

struct PreviewOptions {
    std::string file;
    bool json = false;
};

struct Cut {
    flow_record flow;
    agent::Rejudgement why;
};

std::vector<Cut> cuts(const policy::Policy& policy, policy::OnReload on_reload,
                      const std::vector<flow_record>& flows) {
    const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    datapath::Neighbours neighbours;
    const auto mac_of = [&](const policy::IpAddress& client) { return neighbours.mac_of(client); };
    std::vector<Cut> found;
    for (const flow_record& flow : flows) {
        const agent::Rejudgement why = agent::rejudge(policy, on_reload, flow, now, mac_of);
        if (why.ends) found.push_back({flow, why});
    }
    return found;
}

std::string reason(const Cut& cut, policy::OnReload on_reload) {
    if (!cut.why.is_known) return "not all is known that it was judged by";
    if (on_reload == policy::OnReload::kill) return "all are cut";
    return fmt::format("denied by {}", cut.why.rule);
}

void print_json(const std::vector<Cut>& found, policy::OnReload on_reload) {
    for (const Cut& cut : found) {
        fmt::memory_buffer out;
        {
            text::JsonObject object(out);
            object.add("id", cut.flow.id)
                .add("source", datapath::endpoint(cut.flow.source).to_string())
                .add("destination", datapath::endpoint(cut.flow.destination).to_string())
                .add("server_name", server_name(cut.flow))
                .add("rule", rule(cut.flow))
                .add("why", reason(cut, on_reload));
        }
        fmt::print("{}\n", fmt::to_string(out));
    }
}

void print_text(const std::vector<Cut>& found, policy::OnReload on_reload) {
    for (const Cut& cut : found) {
        const std::string name = text::printable(server_name(cut.flow));
        fmt::print("{:>8}  {} -> {}  {}  {} => {}\n", cut.flow.id,
                   datapath::endpoint(cut.flow.source).to_string(),
                   datapath::endpoint(cut.flow.destination).to_string(), name.empty() ? "-" : name,
                   rule(cut.flow), reason(cut, on_reload));
    }
}

// With `keep`, what the others would do is what an operator wants to know before he chooses.
int preview(const PreviewOptions& options, const std::string& state_directory) {
    const agent::Config config = agent::read_config(options.file);
    for (const std::string& warning : config.list_warnings)
        fmt::print(stderr, "{}\n", warning);
    const std::vector<flow_record> flows = live_flows(LiveTables(state_directory));
    const policy::OnReload chosen = config.policy->on_reload();
    const auto shown = chosen == policy::OnReload::keep ? policy::OnReload::re_evaluate : chosen;
    const std::vector<Cut> found = cuts(*config.policy, shown, flows);
    options.json ? print_json(found, shown) : print_text(found, shown);
    if (chosen != policy::OnReload::keep) {
        fmt::print(stderr, "on_reload: {}: {} of {} live flows would be cut\n", policy::to_string(chosen),
                   found.size(), flows.size());
        return found.empty() ? exit_none : exit_some;
    }
    fmt::print(stderr,
               "on_reload: keep: none of {} live flows would be cut; with re-evaluate {}, with kill all\n",
               flows.size(), found.size());
    return exit_none;
}

int run(const PreviewOptions& options, const std::string& state_directory) {
    try {
        return preview(options, state_directory);
    } catch (const policy::FileError& error) {
        fmt::print(stderr, "{}\n", error.what());
        return exit_mistake;
    }
}

}  // namespace

void add_policy_preview(CLI::App& app, const std::string& state_directory, int& exit_code) {
    auto options = std::make_shared<PreviewOptions>();
    CLI::App* command =
        app.add_subcommand("preview", "say which live flows a policy would cut, and cut none");
    command->add_option("-c,--config", options->file, "configuration file, as it would be reloaded")
        ->type_name("FILE")
        ->required();
    command->add_flag("--json", options->json, "one JSON object a line instead of text");
    command->callback(
        [options, &state_directory, &exit_code] { exit_code = run(*options, state_directory); });
    command->footer("Exits 0 when it would cut none, 3 when some, 1 when the file is wrong.");
}

}  // namespace sluice::cli
