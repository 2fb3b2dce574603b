#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "policy/lint.h"
#include "userspace/agent/config.h"
#include "userspace/cli/commands.h"
#include "userspace/text/json.h"

namespace sluice::cli {
namespace {

struct CheckOptions {
    std::string file;
    bool json = false;
};

void print_json(const CheckOptions& options, bool ok, const std::string& error, const policy::Policy* policy,
                const std::vector<std::string>& warnings) {
    fmt::memory_buffer out;
    {
        text::JsonObject object(out);
        object.add("file", options.file).add("ok", ok);
        if (policy != nullptr) {
            object.add("rules", policy->steps().size())
                .add("default", policy::to_string(policy->fallback().action));
        } else {
            object.add("error", error);
        }
        if (policy != nullptr && policy->lists() != nullptr)
            object.add("names", policy->lists()->names().names());
        object.add("warnings", warnings);
    }
    fmt::print("{}\n", fmt::to_string(out));
}

int check(const CheckOptions& options) {
    agent::Config config;
    try {
        config = agent::read_config(options.file);
    } catch (const policy::FileError& error) {
        if (options.json) print_json(options, false, error.what(), nullptr, {});
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
    std::vector<std::string> warnings;
    for (const std::string& warning : config.list_warnings) {
        warnings.push_back(warning);
        fmt::print(stderr, "{}\n", warning);
    }
    for (const policy::Warning& warning : policy::lint(*config.policy, !config.proxy.listen.empty())) {
        warnings.push_back(fmt::format("{}:{}:{}: warning: {}", options.file, warning.line, warning.column,
                                       warning.message));
        fmt::print(stderr, "{}\n", warnings.back());
    }
    if (options.json) {
        print_json(options, true, "", config.policy.get(), warnings);
    } else {
        std::size_t rules = config.policy->steps().size();
        const policy::ListCatalog* lists = config.policy->lists();
        const std::string names =
            lists == nullptr ? "" : fmt::format("{} names in lists, ", lists->names().names());
        fmt::print("{}: ok, {} rule{}, {}default {}\n", options.file, rules, rules == 1 ? "" : "s", names,
                   policy::to_string(config.policy->fallback().action));
    }
    return 0;
}

}  // namespace

void add_check(CLI::App& app, int& exit_code) {
    auto options = std::make_shared<CheckOptions>();
    CLI::App* command = app.add_subcommand("check", "read a configuration and say what is wrong with it");
    command->add_option("-c,--config", options->file, "configuration file")->type_name("FILE")->required();
    command->add_flag("--json", options->json, "one JSON object instead of text");
    command->callback([options, &exit_code] { exit_code = check(*options); });
}

}  // namespace sluice::cli
