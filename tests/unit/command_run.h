#pragma once
// One of sluice's commands, run in the test's own process.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "userspace/cli/commands.h"

namespace sluice::cli {

struct CommandResult {
    int exit_code = -1;
    std::string out;
    std::string err;
};

// `add(app, exit_code)` adds the commands. Throws what CLI11 throws.
template <class Add>
CommandResult run_command(Add&& add, std::vector<std::string> arguments) {
    CLI::App app;
    CommandResult result;
    add(app, result.exit_code);
    std::ranges::reverse(arguments);  // as CLI11 wants them
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    app.parse(std::move(arguments));
    std::fflush(stdout);
    result.out = testing::internal::GetCapturedStdout();
    result.err = testing::internal::GetCapturedStderr();
    return result;
}

}  // namespace sluice::cli
