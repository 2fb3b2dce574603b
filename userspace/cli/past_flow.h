#pragma once
// Flows of the past, as the agent's log has them: what was known when each was judged.
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/facts.h"

namespace sluice::cli {

struct PastFlow {
    std::string time;  // as in the log
    std::string server_name;
    std::string asked_name;
    std::vector<std::string> alpn;
    std::string ja4;
    std::string ssh_version;
    std::string ssh_server_version;
    std::string rule;             // that decided then
    bool allowed = false;         // then
    policy::Facts facts() const;  // points into this

    // A line of the log, if it is a verdict: a flow that was judged twice has two.
    static std::optional<PastFlow> parse(std::string_view line);

  private:
    policy::Facts plain_;  // what is no text
};

struct PastFlowCount {
    std::size_t flows = 0;
    std::size_t other_lines = 0;  // that are no JSON: a hint that this is no log
};

// Calls `visit` with each verdict in the file, "-" for standard input. Throws policy::FileError when it
// cannot be read.
PastFlowCount read_past_flows(const std::string& file, const std::function<void(const PastFlow&)>& visit);

}  // namespace sluice::cli
