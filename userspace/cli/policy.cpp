// `sluice policy`: what-if, beside `sluice explain`.
#include "userspace/cli/commands.h"

namespace sluice::cli {

void add_policy(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("policy", "compare policies, or suggest one");
    command->require_subcommand(1);
    add_policy_diff(*command, exit_code);
    add_policy_suggest(*command, exit_code);
}

}  // namespace sluice::cli
