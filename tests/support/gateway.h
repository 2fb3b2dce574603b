#pragma once
// The product, running: `sluice run` in the lab's gateway, with a configuration, a state directory and a log
// of its own.
#include <signal.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/json_record.h"
#include "tests/support/lab.h"
#include "tests/support/process.h"
#include "tests/support/temporary_directory.h"

namespace sluice::test {

struct GatewayOptions {
    std::vector<std::string> arguments = {};  // of sluice; empty: run -c FILE
    std::vector<std::string> wrapper = {};    // a program that starts it, e.g. prlimit --nofile=64
};

class Gateway {
  public:
    using Predicate = std::function<bool(const JsonRecord&)>;

    // Writes `config` (YAML), starts the agent and returns when it is ready. Throws, with what it said on
    // stderr, when it does not get there. A config without "capture:" captures from lan0; one without
    // "splice:" has the mode of the environment variable SLUICE_TEST_SPLICE, if there is one.
    explicit Gateway(const Lab& lab, std::string_view config, const GatewayOptions& options = {});
    ~Gateway();
    Gateway(const Gateway&) = delete;
    Gateway& operator=(const Gateway&) = delete;

    // The agent's life. stop() is SIGTERM; both give the exit code.
    int stop();
    int kill();
    void start();                                // again, after stop() or kill()
    void write_config(std::string_view config);  // does not reload
    void reload() { agent_->signal(SIGHUP); }
    Process& agent() { return *agent_; }

    // The log of this run of the agent.
    std::vector<JsonRecord> log_lines(std::string_view event);
    std::size_t count_lines(std::string_view event) { return log_lines(event).size(); }
    // Waits for a line that fits; throws at the deadline, with the last lines of the log.
    JsonRecord wait_for(std::string_view event, const Predicate& predicate = {});
    // The line of a flow by the client's endpoint.
    JsonRecord wait_for(std::string_view event, const policy::Endpoint& source);

    // Runs `sluice <arguments>` beside the agent, on the same state.
    Finished sluice(std::vector<std::string> arguments) const;
    std::vector<JsonRecord> flows(std::vector<std::string> filter = {}) const;  // `sluice flows --json`
    const std::string& config_path() const { return config_path_; }
    const std::string& state_directory() const { return state_; }

  private:
    void read_log();
    void remove_state();

    const Netns& netns_;
    TemporaryDirectory directory_;
    std::string config_path_;
    std::string state_;
    GatewayOptions options_;
    std::unique_ptr<Process> agent_;
    std::vector<JsonRecord> log_;
    std::size_t log_bytes_read_ = 0;
};

// What `flows` and the log say of a short flow that nothing keeps from being carried in the suite's mode.
std::string default_splice_mode();
std::string default_splice_reason();

// Whether the binary under test carries AddressSanitizer: its memory and speed then say nothing.
bool sanitized();

}  // namespace sluice::test
