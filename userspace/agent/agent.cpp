#include "userspace/agent/agent.h"

#include <net/if.h>
#include <signal.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>

#include "userspace/agent/listener.h"
#include "userspace/agent/log.h"
#include "userspace/agent/name_lookup.h"
#include "userspace/agent/packet_events.h"
#include "userspace/agent/pipe_pool.h"
#include "userspace/agent/policy_reload.h"
#include "userspace/agent/worker.h"
#include "userspace/datapath/capture.h"
#include "userspace/datapath/capture_watch.h"
#include "userspace/datapath/dns_watch.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/sockmap.h"

namespace sluice::agent {
namespace {

constexpr std::chrono::seconds record_interval{1};
// Between the last written flow id and the next agent's first: flows of the second that a killed agent did
// not record.
constexpr std::uint64_t flow_id_gap = 1 << 20;
// Listeners, epoll sets, maps, standard streams and room for a reload.
constexpr std::uint64_t descriptors_reserved = 64;
// Fewer is a mistake of whoever set the limit.
constexpr std::uint64_t sockets_min = 32;
// What the flow table has room for.
constexpr std::uint64_t flows_of_table = 1 << 20;

// Two of its own, and what the resolver opens.
constexpr std::uint64_t descriptors_of_lookup = 5;

// Raises the soft descriptor limit to the hard one, and tells how many sockets of flows fit under it.
std::uint64_t sockets_max(unsigned workers, bool has_proxy) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const std::uint64_t overhead = descriptors_reserved + workers * (8ull + PipePool::descriptors_max) +
                                   (has_proxy ? lookups_max * descriptors_of_lookup : 0);
    if (limit.rlim_cur >= overhead + sockets_min) return limit.rlim_cur - overhead;
    throw std::runtime_error("descriptor limit: " + std::to_string(limit.rlim_cur) +
                             " (ulimit -n, LimitNOFILE=) leaves "
                             "no room for flows beside the agent's own " +
                             std::to_string(overhead));
}

// Installed rules, removed when the agent goes, unless it was told to leave them.
class InstalledCapture {
  public:
    explicit InstalledCapture(const datapath::CaptureConfig& config) : config_(config) {
        if (config_.install) datapath::install_capture(config_);
    }
    ~InstalledCapture() {
        if (config_.install && !left_in_place_) datapath::remove_capture(config_);
    }
    InstalledCapture(const InstalledCapture&) = delete;
    InstalledCapture& operator=(const InstalledCapture&) = delete;

    void leave_in_place() { left_in_place_ = true; }

  private:
    const datapath::CaptureConfig& config_;
    bool left_in_place_ = false;
};

class Agent {
  public:
    Agent(const RunOptions& options, const Config& config);
    ~Agent() { resolver_.stop(); }  // whom it answers goes first
    Agent(const Agent&) = delete;
    Agent& operator=(const Agent&) = delete;
    void run();

  private:
    void wait_for_signal();
    void on_signal(int signal);
    void wait_for_kill_request();
    void watch_dns();
    void watch_capture();
    void restore_capture();
    void warn_of_missing_interfaces();
    void write_record_every_second();
    void write_record();
    void add_totals(const Totals& totals);
    void forget_flows_of_last_agent();

    const RunOptions& options_;
    unsigned worker_count_;
    datapath::Fd port_claim_;
    datapath::FlowTable table_;
    datapath::LearnedServers learned_;
    Log log_{STDOUT_FILENO};
    const std::string sockmap_test_;      // "passed", or why not; empty: not asked for
    std::unique_ptr<PacketMode> packet_;  // null: not wanted, or not possible here
    names::Resolver resolver_;
    Shared shared_;
    std::vector<std::unique_ptr<Worker>> workers_;
    asio::io_context io_{1};
    asio::signal_set signals_;                     // before the capture: a signal that ends us must remove it
    std::optional<datapath::DnsWatch> dns_watch_;  // before the capture: nobody else takes its place
    InstalledCapture capture_;  // after the workers: captured connections find their listeners
    std::optional<datapath::CaptureWatch> capture_watch_;  // none where the operator's own rules capture
    asio::posix::stream_descriptor capture_changes_;
    asio::posix::stream_descriptor dns_answers_;
    asio::posix::stream_descriptor events_;
    asio::steady_timer second_;
    agent_record record_{};
    PolicyReload policy_reload_;
    std::optional<PacketEvents> packet_events_;  // with packet_
};

std::vector<std::unique_ptr<Worker>> make_workers(Shared& shared, unsigned count) {
    std::vector<std::unique_ptr<Worker>> workers;
    for (unsigned number = 0; number < count; ++number)
        workers.push_back(std::make_unique<Worker>(shared, number));
    return workers;
}

// Of one worker: each could get all flows. A flow costs some 300 bytes.
std::uint32_t sockmap_flows(const Shared& shared) {
    constexpr std::uint64_t enough = 1 << 16;
    return static_cast<std::uint32_t>(std::min({shared.sockets_max / 2 + 1, shared.flows_max, enough}));
}

// What `splice` asks for is tried before anything is captured. Throws when the operator forced what does not
// work.
std::string test_sockmap(SpliceChoice splice) {
    if (splice == SpliceChoice::relay) return {};
    const auto trouble = datapath::sockmap_self_test();
    if (trouble && splice == SpliceChoice::sockmap)
        throw std::runtime_error("splice: sockmap: this kernel does not pass the test: " + *trouble);
    return trouble.value_or("passed");
}

std::unique_ptr<PacketMode> make_packet_mode(const RunOptions& options, const Config& config, Log& log) {
    if (config.splice != SpliceChoice::automatic && config.splice != SpliceChoice::packet) {
        datapath::PacketHold::stop(options.state_directory);
        return nullptr;
    }
    try {
        return std::make_unique<PacketMode>(
            options.state_directory,
            datapath::PacketSpliceOptions{
                .flows_max = config.flows_max,
                .idle_s = static_cast<std::uint32_t>(config.idle_timeout.count()),
                .half_close_s = static_cast<std::uint32_t>(config.half_close_timeout.count())});
    } catch (const datapath::StateError& error) {
        if (config.splice == SpliceChoice::packet) throw;
        log.event("warning", [&](text::JsonObject& line) {
            line.add("what", std::string("no packet splice: ") + error.what());
        });
        return nullptr;
    }
}

std::optional<datapath::DnsWatch> make_dns_watch(const Config& config) {
    if (config.capture.observe.empty()) return std::nullopt;
    return std::optional<datapath::DnsWatch>(std::in_place);
}

datapath::PacketHold::Listeners listeners_of(const Config& config, unsigned workers) {
    datapath::PacketHold::Listeners listeners{.port = config.capture.port};
    if (config.upstream_source == UpstreamSource::client)
        listeners.deferred_rings = std::min<unsigned>(workers, DEFERRED_RINGS_MAX);
    static_assert(std::tuple_size_v<decltype(listeners.proxy_ports)> == proxy_ports_max);
    std::ranges::copy(config.proxy.ports(), listeners.proxy_ports.begin());
    return listeners;
}

// The first policy goes with its lists when another one takes its place.
Config without_policy(Config config) {
    config.policy = nullptr;
    return config;
}

Agent::Agent(const RunOptions& options, const Config& config)
    : options_(options),
      worker_count_(config.workers != 0 ? config.workers : std::max(1u, std::thread::hardware_concurrency())),
      port_claim_(claim_port(config.capture.port)),
      table_(datapath::FlowTable::own(options.state_directory)),
      learned_(datapath::LearnedServers::own(options.state_directory)),
      sockmap_test_(test_sockmap(config.splice)),
      packet_(make_packet_mode(options, config, log_)),
      resolver_(config.name_servers),
      shared_{.config = without_policy(config),
              .flows_max = config.flows_max != 0 ? config.flows_max : flows_of_table,
              .sockets_max = sockets_max(worker_count_, !config.proxy.listen.empty()),
              .packet = packet_.get(),
              .table = table_,
              .learned = learned_,
              .log = log_,
              .resolver = resolver_,
              .sockmap_flows_max = sockmap_test_ == "passed" ? sockmap_flows(shared_) : 0,
              .policy = nullptr},
      workers_(make_workers(shared_, worker_count_)),
      signals_(io_, SIGTERM, SIGINT, SIGHUP),
      dns_watch_(make_dns_watch(config)),
      capture_(shared_.config.capture),
      capture_changes_(io_),
      dns_answers_(io_),
      events_(io_, ::dup(table_.events_fd())),
      second_(io_),
      policy_reload_(io_, shared_, workers_, options.config_file) {
    signals_.add(SIGUSR2);
    if (shared_.config.capture.install) {
        capture_watch_.emplace();
        capture_changes_.assign(::dup(capture_watch_->fd()));
    }
    shared_.policy = config.policy;
    forget_flows_of_last_agent();
    policy_reload_.start(config);
}

// The bytes of these flows went with the agent that carried them.
void Agent::forget_flows_of_last_agent() {
    for (const flow_record& flow : table_.list()) {
        if (flow.mode != SPLICE_MODE_packet) table_.erase(flow.id);
    }
    const agent_record last = table_.read_agent();
    if (last.flow_id_next != 0) shared_.flow_id_next = last.flow_id_next + flow_id_gap;
}

void Agent::run() {
    record_.started_ns = static_cast<__u64>(Clock::now().time_since_epoch().count());
    if (packet_) packet_->hold_listeners(listeners_of(shared_.config, worker_count_));
    for (auto& worker : workers_)
        worker->start();
    write_record_every_second();
    wait_for_signal();
    wait_for_kill_request();
    if (packet_) {
        packet_events_.emplace(io_, shared_, [this](std::uint64_t flow_id, flow_end end) {
            return policy_reload_.why_ended(flow_id, end);
        });
    }
    if (capture_watch_) watch_capture();
    if (dns_watch_) {
        dns_answers_.assign(::dup(dns_watch_->fd()));
        watch_dns();
    }
    warn_of_missing_interfaces();
    log_.event("ready", [&](text::JsonObject& line) {
        line.add("version", options_.version);
        line.add("interfaces", shared_.config.capture.interfaces);
        const auto policy = shared_.policy.load();
        line.add("rules", policy->steps().size());
        if (const auto* lists = policy->lists()) line.add("names", lists->names().names());
        line.add("workers", worker_count_);
        if (!sockmap_test_.empty()) line.add("sockmap_test", sockmap_test_);
        line.add("flows_max", shared_.flows_max);
        line.add("sockets_max", shared_.sockets_max);
    });
    ::sd_notify(0, "READY=1");
    io_.run();
    ::sd_notify(0, "STOPPING=1");
    resolver_.stop();
    if (packet_) packet_->hold_listeners({});
    for (auto& worker : workers_)
        worker->stop();
    write_record();
    log_.event("stopped", [](text::JsonObject&) {});
}

void Agent::wait_for_signal() {
    signals_.async_wait([this](boost::system::error_code error, int signal) {
        if (!error) on_signal(signal);
    });
}

void Agent::on_signal(int signal) {
    if (signal == SIGHUP) {
        policy_reload_.request();
        return wait_for_signal();
    }
    if (signal == SIGUSR2) capture_.leave_in_place();
    io_.stop();
}

void Agent::wait_for_kill_request() {
    events_.async_wait(asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
        if (error) return;
        table_.read_events([this](std::uint64_t flow_id) {
            for (auto& worker : workers_)
                worker->kill(flow_id);
        });
        wait_for_kill_request();
    });
}

void Agent::watch_dns() {
    dns_answers_.async_wait(asio::posix::stream_descriptor::wait_read,
                            [this](boost::system::error_code error) {
                                if (error) return;
                                dns_watch_->read([this](const unsigned char* payload, std::size_t bytes) {
                                    resolver_.overhear(payload, bytes);
                                });
                                watch_dns();
                            });
}

// Somebody flushed the ruleset: install ours again, else traffic would pass unfiltered.
void Agent::watch_capture() {
    capture_changes_.async_wait(asio::posix::stream_descriptor::wait_read,
                                [this](boost::system::error_code error) {
                                    if (error) return;
                                    capture_watch_->drain();
                                    restore_capture();
                                    watch_capture();
                                });
}

void Agent::restore_capture() {
    std::string result = "installed again: somebody had removed table inet sluice";
    try {
        if (datapath::capture_is_installed()) return;
        datapath::install_capture(shared_.config.capture);
    } catch (const datapath::CaptureError& error) {
        result = std::string("cannot be restored: ") + error.what();
    }
    log_.event("capture", [&](text::JsonObject& line) { line.add("result", result); });
}

// Not an error: an interface may come later, and the rules go by its name.
void Agent::warn_of_missing_interfaces() {
    for (const std::string& name : shared_.config.capture.interfaces) {
        if (::if_nametoindex(name.c_str()) != 0) continue;
        log_.event("warning", [&](text::JsonObject& line) {
            line.add("what",
                     "interface " + name + " does not exist: nothing is captured there until it does");
        });
    }
}

void Agent::write_record_every_second() {
    write_record();
    second_.expires_after(record_interval);
    second_.async_wait([this](boost::system::error_code error) {
        if (!error) write_record_every_second();
    });
}

void Agent::add_totals(const Totals& totals) {
    record_.flows_accepted += totals.flows_accepted;
    record_.bytes_up += totals.bytes_up;
    record_.bytes_down += totals.bytes_down;
    for (std::size_t i = 0; i < FLOW_END_COUNT; ++i)
        record_.flow_ends[i] += totals.ends[i];
}

void Agent::write_record() {
    record_.abi_version = FLOW_ABI_VERSION;
    record_.pid = static_cast<__u32>(::getpid());
    record_.flow_id_next = shared_.flow_id_next;
    record_.flows_live = shared_.flows_live + (packet_ ? packet_->table().size() : 0);
    record_.flows_live_max = shared_.flows_max;
    record_.sockets_open = shared_.sockets_open;
    record_.sockets_max = shared_.sockets_max;
    record_.log_lines_lost = log_.lines_lost();
    static_assert(static_cast<int>(SpliceChoice::packet) == SPLICE_MODE_packet);
    record_.splice_configured = static_cast<__u8>(shared_.config.splice);
    record_.policy_reloads = policy_reload_.count();
    record_.reload_refused = policy_reload_.was_refused() ? 1 : 0;
    record_.policy_rules = static_cast<__u32>(shared_.policy.load()->steps().size());
    std::strncpy(record_.sockmap_test, sockmap_test_.c_str(), sizeof record_.sockmap_test - 1);
    record_.flows_accepted = record_.bytes_up = record_.bytes_down = 0;
    std::ranges::fill(record_.flow_ends, 0);
    const names::ResolverTotals names = resolver_.totals();
    record_.names_known = names.names;
    record_.names_addresses = names.addresses;
    record_.names_asked = names.questions;
    record_.names_failed = names.failures;
    record_.names_overheard = names.overheard;
    if (packet_events_) add_totals(packet_events_->totals());
    for (const auto& worker : workers_)
        add_totals(worker->totals());
    std::strncpy(record_.version, options_.version.c_str(), sizeof record_.version - 1);
    table_.write_agent(record_);
}

}  // namespace

void run_agent(const RunOptions& options) {
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGUSR1, SIG_IGN);  // what log rotation sends by habit; the log is a stream
    Agent agent(options, options.config_file.empty() ? default_config(options.interfaces)
                                                     : read_config(options.config_file));
    agent.run();
}

}  // namespace sluice::agent
