#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "userspace/agent/config.h"
#include "userspace/cli/commands.h"
#include "userspace/datapath/host_check.h"
#include "userspace/text/json.h"

namespace sluice::cli {
namespace {

struct DoctorOptions {
    std::string file;
    std::vector<std::string> interfaces;
    bool json = false;
};

void print_json(const datapath::Finding& finding) {
    fmt::memory_buffer out;
    {
        text::JsonObject object(out);
        object.add("severity", to_string(finding.severity)).add("what", finding.what).add("fix", finding.fix);
    }
    fmt::print("{}\n", fmt::to_string(out));
}

void print_text(const datapath::Finding& finding) {
    fmt::print("{:<8} {}\n", to_string(finding.severity), text::printable(finding.what));
    if (!finding.fix.empty()) fmt::print("{:<8} fix: {}\n", "", text::printable(finding.fix));
}

int doctor(const DoctorOptions& options) {
    datapath::CaptureConfig capture;
    if (!options.file.empty()) {
        try {
            capture = agent::parse_config_file(options.file).capture;
        } catch (const policy::FileError& error) {
            fmt::print(stderr, "{}\n", error.what());
            return 1;
        }
    }
    if (!options.interfaces.empty()) capture.interfaces = options.interfaces;
    int exit_code = 0;
    for (const datapath::Finding& finding : datapath::check_host(capture)) {
        if (options.json) {
            print_json(finding);
        } else {
            print_text(finding);
        }
        if (finding.severity == datapath::Severity::problem) exit_code = 1;
    }
    return exit_code;
}

}  // namespace

void add_doctor(CLI::App& app, int& exit_code) {
    auto options = std::make_shared<DoctorOptions>();
    CLI::App* command = app.add_subcommand("doctor", "Look for what breaks interception on this host");
    command->add_option("-c,--config", options->file, "The configuration file");
    command->add_option("-i,--interface", options->interfaces,
                        "An interface where clients are; may be repeated");
    command->add_flag("--json", options->json, "One JSON object per line");
    command->callback([options, &exit_code] { exit_code = doctor(*options); });
}

}  // namespace sluice::cli
