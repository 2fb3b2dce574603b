#pragma once
// What on this host breaks interception, and the command that mends it: `sluice doctor`. Looks only; changes
// nothing.
#include <string>
#include <string_view>
#include <vector>

#include "userspace/datapath/capture.h"

namespace sluice::datapath {

enum class Severity : std::uint8_t {
    ok,
    warning,  // works, but some traffic may not, or not as expected
    problem,  // the agent does not start, or captures nothing
};
std::string_view to_string(Severity severity);

struct Finding {
    Severity severity = Severity::ok;
    std::string what;  // one line
    std::string fix;   // with warning and problem: a shell command, or what to change
};

// All checks, in a fixed order, in the calling thread's network namespace. Without interfaces in `config`,
// those checks that need one are left out; with `install` false, those of rules and routing are.
std::vector<Finding> check_host(const CaptureConfig& config);

}  // namespace sluice::datapath
