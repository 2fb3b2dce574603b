#include "tests/support/gateway.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

namespace sluice::test {

namespace {

constexpr const char* binary = SLUICE_BINARY;

// The mode that the whole suite is run in; null: the default.
const char* configured_mode() {
    return std::getenv("SLUICE_TEST_SPLICE");
}

std::string unique_state_directory() {
    static std::atomic<int> count = 0;
    return "/sys/fs/bpf/sluice-test-" + std::to_string(::getpid()) + "-" + std::to_string(count++);
}

}  // namespace

std::string default_splice_mode() {
    const std::string mode = configured_mode() ? configured_mode() : "packet";
    return mode == "sockmap" ? "relay" : mode;  // until it is a dialogue
}

std::string default_splice_reason() {
    if (!configured_mode()) return "automatic";
    return std::string_view(configured_mode()) == "sockmap" ? "no_dialogue" : "configured";
}

Gateway::Gateway(const Lab& lab, std::string_view config, const GatewayOptions& options)
    : netns_(lab.gateway()),
      config_path_((directory_.path() / "gateway.yaml").string()),
      state_(unique_state_directory()),
      options_(options) {
    if (options_.arguments.empty()) options_.arguments = {"run", "-c", config_path_};
    write_config(config);
    try {
        start();
    } catch (...) {  // no destructor comes
        agent_.reset();
        remove_state();
        throw;
    }
}

Gateway::~Gateway() {
    agent_.reset();
    remove_state();
}

void Gateway::remove_state() {
    std::error_code none;
    std::filesystem::remove_all(state_, none);
}

int Gateway::stop() {
    agent_->signal(SIGTERM);
    return agent_->wait().value_or(-1);
}

int Gateway::kill() {
    agent_->signal(SIGKILL);
    return agent_->wait().value_or(-1);
}

void Gateway::start() {
    std::vector<std::string> argv = options_.wrapper;
    argv.insert(argv.end(), {binary, "--state", state_});
    argv.insert(argv.end(), options_.arguments.begin(), options_.arguments.end());
    agent_.reset();
    log_.clear();
    log_bytes_read_ = 0;
    agent_ = std::make_unique<Process>(argv, ProcessOptions{.netns = &netns_});
    wait_until([this] { return !agent_->running() || count_lines("ready") > 0; });
    if (count_lines("ready") == 0) {
        throw std::runtime_error("the agent did not get ready: " + agent_->out() + agent_->err());
    }
}

void Gateway::write_config(std::string_view config) {
    std::string text(config);
    if (text.find("capture:") == std::string::npos) text = "capture: {interfaces: [lan0]}\n" + text;
    if (text.find("splice:") == std::string::npos && configured_mode()) {
        text +=
            "\nsplice: " + std::string(configured_mode()) + "\n";  // last, so that lines keep their numbers
    }
    directory_.write("gateway.yaml", text);
}

void Gateway::read_log() {
    const std::string text = agent_->out_from(log_bytes_read_);
    const std::size_t whole = text.rfind('\n') + 1;  // npos + 1 is 0: no whole line yet
    for (JsonRecord& record : JsonRecord::parse_all(std::string_view(text).substr(0, whole))) {
        log_.push_back(std::move(record));
    }
    log_bytes_read_ += whole;
}

std::vector<JsonRecord> Gateway::log_lines(std::string_view event) {
    read_log();
    std::vector<JsonRecord> result;
    for (const JsonRecord& record : log_) {
        if (record.text("event") == event) result.push_back(record);
    }
    return result;
}

JsonRecord Gateway::wait_for(std::string_view event, const Predicate& predicate) {
    std::optional<JsonRecord> result;
    std::size_t seen = 0;
    wait_until([&] {
        read_log();
        for (; seen < log_.size() && !result; ++seen) {
            if (log_[seen].text("event") == event && (!predicate || predicate(log_[seen])))
                result = log_[seen];
        }
        return result.has_value() || !agent_->running();
    });
    if (!result) {
        const std::string log = agent_->out();
        throw std::runtime_error("no such \"" + std::string(event) + "\" line in the log, which ends: " +
                                 log.substr(log.size() > 2000 ? log.size() - 2000 : 0) + agent_->err());
    }
    return *result;
}

JsonRecord Gateway::wait_for(std::string_view event, const policy::Endpoint& source) {
    const std::string text = source.to_string();
    return wait_for(event, [&](const JsonRecord& record) { return record.text("source") == text; });
}

Finished Gateway::sluice(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {binary, "--state", state_});
    return run_process(arguments, {.netns = &netns_});
}

std::vector<JsonRecord> Gateway::flows(std::vector<std::string> filter) const {
    filter.insert(filter.begin(), {"flows", "--json"});
    const Finished finished = sluice(filter);
    if (finished.exit_code != 0) throw std::runtime_error("sluice flows: " + finished.err);
    return JsonRecord::parse_all(finished.out);
}

bool sanitized() {
#if defined(__has_feature)
    return __has_feature(address_sanitizer);
#else
    return false;
#endif
}

}  // namespace sluice::test
