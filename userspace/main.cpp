// sluice: the agent and the operator's commands, in one binary. Nouns read, verbs change.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "userspace/agent/agent.h"
#include "userspace/cli/commands.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/text/json.h"

namespace {

void add_run(CLI::App& app, sluice::agent::RunOptions& options) {
    CLI::App* run = app.add_subcommand("run", "run the gateway agent in the foreground");
    auto* config =
        run->add_option("-c,--config", options.config_file, "configuration file")->type_name("FILE");
    run->add_option("-i,--interface", options.interfaces,
                    "without a file: capture all TCP that comes in here, allow all, log every name")
        ->type_name("IF")
        ->excludes(config);
    run->callback([&options] {
        if (options.config_file.empty() && options.interfaces.empty()) {
            throw CLI::ValidationError("run", "needs --config FILE or --interface IF");
        }
        sluice::agent::run_agent(options);
    });
}

// CLI11 says only that a command is missing, also when there is one that it does not know.
bool names_unknown_command(const CLI::App& app, int argc, char** argv) {
    if (argc < 2 || argv[1][0] == '-' || !app.get_subcommands().empty()) return false;
    std::string commands;
    for (const CLI::App* command : app.get_subcommands({}))
        commands += " " + command->get_name();
    std::fprintf(stderr, "sluice: '%s' is not a command; there are:%s\n",
                 sluice::text::printable(argv[1]).c_str(), commands.c_str());
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("sluice: a transparent TCP gateway that decides by server name");
    app.set_version_flag("-V,--version", SLUICE_VERSION);
    app.require_subcommand(1);
    app.fallthrough();  // global options may follow the subcommand

    sluice::agent::RunOptions options;
    options.state_directory = sluice::datapath::default_state_directory;
    options.version = SLUICE_VERSION;
    app.add_option("--state", options.state_directory, "directory of the pinned flow table, on bpffs")
        ->type_name("DIR")
        ->envname("SLUICE_STATE")
        ->capture_default_str();

    int exit_code = 0;
    add_run(app, options);
    sluice::cli::add_check(app, exit_code);
    sluice::cli::add_explain(app, exit_code);
    sluice::cli::add_policy(app, options.state_directory, exit_code);
    sluice::cli::add_import(app, exit_code);
    sluice::cli::add_lists(app, exit_code);
    sluice::cli::add_flows(app, options.state_directory, exit_code);
    sluice::cli::add_learned(app, options.state_directory, exit_code);
    sluice::cli::add_status(app, options.state_directory, exit_code);
    sluice::cli::add_remove(app, options.state_directory, exit_code);
    sluice::cli::add_hello(app, exit_code);
    sluice::cli::add_doctor(app, exit_code);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (names_unknown_command(app, argc, argv)) return 2;
        return app.exit(error) == 0 ? 0 : 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return exit_code;
}
