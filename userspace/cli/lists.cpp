// `sluice lists`: what the policy's lists hold; `sluice lists prepare`: one file of them all, quick to load.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>

#include "policy/list_catalog.h"
#include "userspace/agent/config.h"
#include "userspace/cli/commands.h"
#include "userspace/text/json.h"

namespace sluice::cli {
namespace {

struct ListsOptions {
    std::string file;
    std::string output;
    bool json = false;
};

void print_text(const policy::ListCatalog& lists) {
    fmt::print("{:<20} {:<20} {:<8} {:>10} {:>9} {:>7}  {}\n", "list", "category", "format", "names",
               "ignored", "bad", "file");
    for (const policy::ListInfo& info : lists.lists()) {
        fmt::print("{:<20} {:<20} {:<8} {:>10} {:>9} {:>7}  {}\n", info.list, info.category,
                   policy::to_string(info.format), info.names, info.ignored, info.bad,
                   text::printable(info.path));
    }
    fmt::print("{} different names, {:.1f} MB\n", lists.names().names(),
               static_cast<double>(lists.names().bytes()) / 1e6);
}

void print_json(const policy::ListCatalog& lists) {
    for (const policy::ListInfo& info : lists.lists()) {
        fmt::memory_buffer out;
        {
            text::JsonObject object(out);
            object.add("list", info.list).add("category", info.category);
            object.add("format", policy::to_string(info.format)).add("file", info.path);
            object.add("names", info.names).add("ignored", info.ignored).add("bad", info.bad);
        }
        fmt::print("{}\n", fmt::to_string(out));
    }
}

// Runs `work` with the configuration's lists; every file is read anew where `use_prepared` is false.
template <typename Work>
int with_lists(const ListsOptions& options, bool use_prepared, Work work) {
    try {
        const agent::Config config = agent::parse_config_file(options.file);
        const policy::LoadedLists loaded =
            policy::load_lists(config.policy->list_sources(), nullptr, use_prepared);
        for (const std::string& warning : loaded.warnings)
            fmt::print(stderr, "{}\n", warning);
        config.policy->with_lists(loaded.catalog);  // throws what `sluice check` would say
        work(*loaded.catalog);
        return 0;
    } catch (const policy::FileError& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
}

int show(const ListsOptions& options) {
    return with_lists(options, true, [&](const policy::ListCatalog& lists) {
        options.json ? print_json(lists) : print_text(lists);
    });
}

int prepare(const ListsOptions& options) {
    return with_lists(options, false, [&](const policy::ListCatalog& lists) {
        lists.save(options.output);
        fmt::print("{}: {} names of {} lists, {:.1f} MB\n", options.output, lists.names().names(),
                   lists.lists().size(), static_cast<double>(lists.names().block().size()) / 1e6);
    });
}

}  // namespace

void add_lists(CLI::App& app, int& exit_code) {
    auto options = std::make_shared<ListsOptions>();
    CLI::App* command =
        app.add_subcommand("lists", "show the policy's lists, and prepare them for a quick start");
    command->add_option("-c,--config", options->file, "configuration file")->type_name("FILE")->required();
    command->add_flag("--json", options->json, "one JSON object a line instead of text");
    CLI::App* prepared =
        command->add_subcommand("prepare", "write all lists into one file that loads at once");
    prepared->add_option("-o,--output", options->output, "the file; see prepared_lists: in the policy")
        ->type_name("FILE")
        ->required();
    command->callback([options, prepared, &exit_code] {
        exit_code = prepared->parsed() ? prepare(*options) : show(*options);
    });
}

}  // namespace sluice::cli
