#pragma once
// The commands of the `sluice` binary, one function each, all with the exit code as result. They print to
// stdout; what went wrong goes to stderr in one line.
#include <CLI/CLI.hpp>
#include <string>

namespace sluice::cli {

// Each adds its subcommand, with its options, to `app`; a chosen subcommand leaves its exit code in
// `exit_code`.
void add_check(CLI::App& app, int& exit_code);
void add_explain(CLI::App& app, int& exit_code);
void add_policy(CLI::App& app, const std::string& state_directory, int& exit_code);  // and those below
void add_policy_diff(CLI::App& app, int& exit_code);
void add_policy_suggest(CLI::App& app, int& exit_code);
void add_policy_preview(CLI::App& app, const std::string& state_directory, int& exit_code);
void add_import(CLI::App& app, int& exit_code);
void add_flows(CLI::App& app, const std::string& state_directory, int& exit_code);
void add_learned(CLI::App& app, const std::string& state_directory, int& exit_code);
void add_status(CLI::App& app, const std::string& state_directory, int& exit_code);
void add_remove(CLI::App& app, const std::string& state_directory, int& exit_code);
void add_lists(CLI::App& app, int& exit_code);
void add_hello(CLI::App& app, int& exit_code);
void add_doctor(CLI::App& app, int& exit_code);

}  // namespace sluice::cli
