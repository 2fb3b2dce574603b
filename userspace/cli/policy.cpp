// `sluice policy`: what-if, beside `sluice explain`.
#include "userspace/cli/commands.h"

namespace sluice::cli {

void add_policy(CLI::App& app, const std::string& state_directory, int& exit_code) {
    CLI::App* command =
        app.add_subcommand("policy", "compare policies, suggest one, or see what one would cut");
    command->require_subcommand(1);
    add_policy_diff(*command, exit_code);
    add_policy_suggest(*command, exit_code);
    add_policy_preview(*command, state_directory, exit_code);
}

}  // namespace sluice::cli
