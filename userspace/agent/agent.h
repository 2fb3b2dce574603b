#pragma once
// The agent: `sluice run`. Starts everything in the order in which it can fail harmlessly, waits for signals,
// stops everything in reverse.
//
//   SIGTERM, SIGINT   end all flows, remove the capture rules, exit
//   SIGUSR2           the same, but leave the capture rules: captured traffic stays blocked until the next
//   agent SIGHUP            read the configuration's policy again; a bad file keeps the old one and says so
#include <string>
#include <vector>

#include "userspace/agent/config.h"

namespace sluice::agent {

struct RunOptions {
    std::string config_file;              // or, without one,
    std::vector<std::string> interfaces;  // the default configuration for these
    std::string state_directory;
    std::string version;
};

// Runs until a signal ends it. Throws (policy::FileError, datapath::StateError, datapath::CaptureError,
// std::runtime_error: each with one line for people) when it cannot start; then nothing is left behind.
void run_agent(const RunOptions& options);

}  // namespace sluice::agent
