// `sluice import fqdn-profile`: an appliance's name filter, as a profile of this file format.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "policy/pcre_pattern.h"
#include "policy/policy_file.h"
#include "policy/quote.h"
#include "userspace/cli/commands.h"
#include "userspace/cli/fqdn_profile.h"

namespace sluice::cli {
namespace {

struct ImportOptions {
    std::string file;
    std::string name;
    bool anywhere = false;
};

std::string read_file(const std::string& path) {
    errno = 0;
    std::ifstream stream(path, std::ios::binary);
    if (!stream) {
        throw policy::FileError(path, 0, 0,
                                "expected a readable file, found: " + std::string(std::strerror(errno)));
    }
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::string yaml_quoted(std::string_view text) {
    std::string out = "'";
    for (char c : text) {
        out += c;
        if (c == '\'') out += c;
    }
    return out + "'";
}

std::string list(const std::vector<std::string>& entries) {
    std::string out;
    for (const std::string& entry : entries)
        out += (out.empty() ? "" : ", ") + yaml_quoted(entry);
    return "[" + out + "]";
}

class Import {
  public:
    explicit Import(const ImportOptions& options) : options_(options) {}

    // The profile as text; empty when something could not be read: half a filter is none.
    std::string run(const FqdnProfile& profile) {
        for (const FqdnRow& row : profile.rows)
            add_rows(row);
        std::string name = !options_.name.empty() ? options_.name : profile.name;
        if (name.empty()) name = "imported";
        if (name.size() > policy::profile_name_bytes_max || name.find_first_of("/\n\r") != name.npos) {
            throw policy::FileError(
                options_.file, 0, 0,
                "expected a profile's name of 1 to 31 characters without a slash (see --name), found " +
                    policy::quote(name));
        }
        if (failed_) return "";
        return fmt::format(
            "# From {}.\npolicy:\n  default: deny\n{}  profiles:\n    - name: {}\n      rows:{}\n{}"
            "  rules:\n    - {{name: names, use: {}}}\n",
            policy::quote(options_.file), lists(profile), yaml_quoted(name), rows_.empty() ? " []" : "",
            rows_, yaml_quoted(name));
    }

  private:
    // Which names are in a category is not in the table: it is read from a folder, named here.
    std::string lists(const FqdnProfile& profile) const {
        std::set<std::string> categories;
        for (const FqdnRow& row : profile.rows)
            categories.insert(row.categories.begin(), row.categories.end());
        if (categories.empty()) return "";
        fmt::print(
            stderr,
            "{}: warning: has categories; put the names of each into categories/CATEGORY/domains beside "
            "the configuration, or change lists:\n",
            options_.file);
        return "  lists:\n    # The names of: " + fmt::format("{}", fmt::join(categories, ", ")) +
               "\n    - {name: categories, folder: categories, format: ut1}\n";
    }

    // A row matches by its names or by its categories; one of ours by all of its conditions: it becomes two.
    void add_rows(const FqdnRow& row) {
        std::vector<std::string> patterns;
        for (const FqdnRow::Name& name : row.names) {
            auto reading = policy::read_pcre(name.pcre, options_.anywhere);
            if (!reading) {
                fmt::print(stderr, "{}:{}:{}: error: {}\n", options_.file, name.line, name.column,
                           reading.error());
                failed_ = true;
                continue;
            }
            for (const std::string& warning : reading->warnings) {
                fmt::print(stderr, "{}:{}:{}: warning: {} {}\n", options_.file, name.line, name.column,
                           policy::quote(name.pcre), warning);
            }
            if (std::ranges::find(patterns, reading->pattern) == patterns.end())
                patterns.push_back(reading->pattern);
        }
        if (!patterns.empty()) add_row("server_name: " + list(patterns), row.outcome);
        if (!row.categories.empty()) add_row("category: " + list(row.categories), row.outcome);
        if (row.uncategorized) add_row("match: uncategorized", row.outcome);
        if (row.any) add_row("match: any", row.outcome);
    }

    void add_row(const std::string& condition, const policy::Outcome& outcome) {
        rows_ += fmt::format("        - {{{}, action: {}{}}}\n", condition, policy::to_string(outcome.action),
                             outcome.log ? "" : ", log: false");
    }

    const ImportOptions& options_;
    std::string rows_;
    bool failed_ = false;
};

int run(const ImportOptions& options) {
    try {
        std::string text = Import(options).run(parse_fqdn_profile(options.file, read_file(options.file)));
        fmt::print("{}", text);
        return text.empty() ? 1 : 0;
    } catch (const policy::FileError& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
}

}  // namespace

void add_import(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("import", "write a policy from another product's");
    command->require_subcommand(1);
    auto options = std::make_shared<ImportOptions>();
    CLI::App* profile =
        command->add_subcommand("fqdn-profile", "rows of names (PCRE) and categories, as CSV or JSON");
    profile->add_option("file", options->file, "the table")->type_name("FILE")->required();
    profile->add_option("--name", options->name, "of the profile")->type_name("NAME");
    profile->add_flag(
        "--anywhere", options->anywhere,
        "an expression without ^ and $ is found anywhere in a name, instead of being the whole name");
    profile->callback([options, &exit_code] { exit_code = run(*options); });
    profile->footer(
        "Writes the policy to stdout and what is doubtful to stderr; nothing, and exit code 1, when "
        "anything cannot be read.");
}

}  // namespace sluice::cli
