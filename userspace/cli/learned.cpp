// `sluice learned`: servers that are known to speak first, for which no client's silence is waited for.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "userspace/cli/commands.h"
#include "userspace/cli/flow_view.h"
#include "userspace/datapath/learned_servers.h"
#include "userspace/datapath/monotonic.h"
#include "userspace/text/json.h"

namespace sluice::cli {
namespace {

using datapath::LearnedServer;
using datapath::LearnedServers;

constexpr std::uint64_t ns_per_ms = 1'000'000;
constexpr std::uint64_t keep_ns = std::chrono::nanoseconds(LearnedServers::keep).count();

void print_json(const std::vector<LearnedServer>& servers, std::uint64_t now_ns) {
    for (const LearnedServer& server : servers) {
        fmt::memory_buffer out;
        {
            text::JsonObject object(out);
            object.add("destination", server.server.to_string())
                .add("protocol", policy::to_string(server.protocol))
                .add("learned_ms_ago", (now_ns - server.learned_ns) / ns_per_ms)
                .add("heard_ms_ago", (now_ns - server.heard_ns) / ns_per_ms)
                .add("expires_in_ms", (server.heard_ns + keep_ns - now_ns) / ns_per_ms);
        }
        fmt::print("{}\n", fmt::to_string(out));
    }
}

void print_text(const std::vector<LearnedServer>& servers, std::uint64_t now_ns) {
    std::size_t width = std::string_view("DESTINATION").size();
    for (const LearnedServer& server : servers)
        width = std::max(width, server.server.to_string().size());
    fmt::print("{:<{}}  {:<12}  {:<8}  {:<8}  EXPIRES IN\n", "DESTINATION", width, "PROTOCOL", "LEARNED",
               "HEARD");
    for (const LearnedServer& server : servers) {
        fmt::print("{:<{}}  {:<12}  {:<8}  {:<8}  {}\n", server.server.to_string(), width,
                   policy::to_string(server.protocol), human_duration(now_ns - server.learned_ns),
                   human_duration(now_ns - server.heard_ns),
                   human_duration(server.heard_ns + keep_ns - now_ns));
    }
}

int list(const std::string& state_directory, bool json) {
    std::vector<LearnedServer> servers;
    if (const auto learned = LearnedServers::open(state_directory)) servers = learned->list();
    const std::uint64_t now_ns = datapath::monotonic_ns();
    json ? print_json(servers, now_ns) : print_text(servers, now_ns);
    return 0;
}

int forget(const std::string& state_directory, const std::vector<std::string>& destinations) {
    std::vector<policy::Endpoint> servers;
    auto learned = LearnedServers::open(state_directory);
    for (const std::string& text : destinations) {
        if (text == "all") {
            for (const LearnedServer& server : learned ? learned->list() : std::vector<LearnedServer>())
                servers.push_back(server.server);
            continue;
        }
        const auto server = policy::Endpoint::parse(text);
        if (!server) {
            fmt::print(stderr, "sluice learned forget: expected IP:PORT, [IPv6]:PORT or all, found '{}'\n",
                       text::printable(text));
            return 2;
        }
        servers.push_back(*server);
    }
    int exit_code = 0;
    for (const policy::Endpoint& server : servers) {
        if (learned && learned->forget(server)) continue;
        fmt::print(stderr, "sluice learned forget: {} is not known\n", server.to_string());
        exit_code = 1;
    }
    return exit_code;
}

}  // namespace

void add_learned(CLI::App& app, const std::string& state_directory, int& exit_code) {
    auto json = std::make_shared<bool>(false);
    auto destinations = std::make_shared<std::vector<std::string>>();
    CLI::App* learned =
        app.add_subcommand("learned", "servers that speak first: no client's silence is waited for there");
    learned->add_flag("--json", *json, "one JSON object a line");
    CLI::App* forgotten = learned->add_subcommand("forget", "takes some out, or all");
    forgotten->add_option("destination", *destinations, "IP:PORT, or all")->required()->type_name("DEST");
    forgotten->callback(
        [=, &state_directory, &exit_code] { exit_code = forget(state_directory, *destinations); });
    learned->callback([=, &state_directory, &exit_code] {
        if (!*forgotten) exit_code = list(state_directory, *json);
    });
}

}  // namespace sluice::cli
