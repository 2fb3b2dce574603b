#include "userspace/agent/policy_reload.h"

#include <fmt/ranges.h>
#include <systemd/sd-daemon.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "userspace/agent/rejudgement.h"

namespace sluice::agent {
namespace {

namespace asio = boost::asio;

// A changed list is read when it has stayed as it is from one look to the next: then nobody is writing it.
constexpr std::chrono::seconds lists_interval{2};
// Packet-spliced flows that are judged in one turn: a millisecond's work.
constexpr std::uint32_t slots_per_turn = 1024;

}  // namespace

struct PolicyReload::Rejudging {
    policy::OnReload on_reload;
    std::size_t workers;  // that are not done yet
    LiveFlows count;
    std::size_t unknown = 0;  // of those that were cut
    std::uint32_t slot = 0;
};

PolicyReload::PolicyReload(asio::io_context& io, Shared& shared, const Workers& workers,
                           std::string config_file)
    : io_(io),
      shared_(shared),
      workers_(workers),
      config_file_(std::move(config_file)),
      reader_(io, config_file_,
              [this](Reading reading, const ConfigReader::Result& fresh) { finish(reading, fresh); }),
      lists_timer_(io) {}

void PolicyReload::start(const Config& first) {
    warn_of_lists(first);
    reader_.start(first.list_files);
    look_at_lists_regularly();
    rejudge(true);
}

void PolicyReload::request() {
    ::sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
                 static_cast<long long>(Clock::now().time_since_epoch().count() / 1000));
    if (config_file_.empty())
        return finish(Reading::file, std::unexpected("no configuration file: started with --interface"));
    if (!reader_.read(shared_.policy.load())) again_ = true;
}

void PolicyReload::look_at_lists_regularly() {
    lists_timer_.expires_after(lists_interval);
    lists_timer_.async_wait([this](boost::system::error_code error) {
        if (error) return;
        reader_.look_at_lists(shared_.policy.load());
        look_at_lists_regularly();
    });
}

void PolicyReload::finish(Reading reading, const ConfigReader::Result& fresh) {
    if (reading != Reading::nothing) {
        was_refused_ = !fresh;
        if (fresh) {
            // The lists alone were read: they say nothing of name servers.
            if (reading == Reading::file) shared_.resolver.use(fresh->name_servers);
            shared_.policy = fresh->policy;
            warn_of_lists(*fresh);
            ++count_;
        }
        report(reading, fresh);
        if (fresh) rejudge(false);
    }
    if (std::exchange(again_, false)) return request();
    if (reading == Reading::file) ::sd_notify(0, "READY=1");
}

void PolicyReload::report(Reading reading, const ConfigReader::Result& fresh) {
    std::vector<std::string> keys;
    if (reading == Reading::file && fresh) keys = fresh->keys_for_restart(shared_.config);
    shared_.log.event(reading == Reading::file ? "reload" : "lists", [&](text::JsonObject& line) {
        line.add("result", fresh ? "ok" : "kept the old policy");
        if (!fresh) line.add("error", fresh.error());
        if (!keys.empty()) {
            line.add("warning", fmt::format("only the policy was read again: a restart is needed for {}",
                                            fmt::join(keys, ", ")));
        }
        const auto policy = shared_.policy.load();
        line.add("rules", policy->steps().size());
        if (const auto* lists = policy->lists()) line.add("names", lists->names().names());
    });
}

void PolicyReload::warn_of_lists(const Config& config) {
    for (const std::string& what : config.list_warnings)
        shared_.log.event("warning", [&](text::JsonObject& line) { line.add("what", what); });
}

void PolicyReload::rejudge(bool adopted_only) {
    const auto policy = shared_.policy.load();
    auto state = std::make_shared<Rejudging>(
        Rejudging{.on_reload = policy->on_reload(), .workers = workers_.size(), .count = {}});
    if (state->on_reload == policy::OnReload::keep) return;
    if (adopted_only) {
        if (shared_.packet && shared_.packet->table().size() > 0) rejudge_packets(std::move(state));
        return;
    }
    for (const auto& worker : workers_) {
        worker->rejudge([this, state](const LiveFlows& flows) {
            asio::post(io_, [this, state, flows] {
                state->count.flows += flows.flows;
                state->count.cut += flows.cut;
                if (--state->workers == 0) rejudge_packets(state);
            });
        });
    }
}

// Some at a time, so that the agent hears what else there is.
void PolicyReload::rejudge_packets(std::shared_ptr<Rejudging> state) {
    const auto policy = shared_.policy.load();
    const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    const auto mac_of = [&](const policy::IpAddress& client) { return neighbours_.mac_of(client); };
    const auto judge = [&](const flow_record& flow) -> datapath::PacketSplice::Fate {
        const Rejudgement result = agent::rejudge(*policy, state->on_reload, flow, now, mac_of);
        ++state->count.flows;
        if (!result.ends) return {.ends = false, .rule = result.rule};
        ++state->count.cut;
        if (!result.is_known) ++state->unknown;
        cut_.insert(flow.id);
        return {.ends = true, .rule = result.rule};
    };
    if (shared_.packet && shared_.packet->table().rejudge(state->slot, slots_per_turn, judge)) {
        state->slot += slots_per_turn;
        return asio::post(io_, [this, state = std::move(state)] { rejudge_packets(state); });
    }
    shared_.log.event("rejudged", [&](text::JsonObject& line) {
        line.add("on_reload", policy::to_string(state->on_reload));
        line.add("flows", state->count.flows);
        line.add("cut", state->count.cut);
        if (state->unknown > 0) line.add("cut_as_unknown", state->unknown);
    });
}

flow_end PolicyReload::why_ended(std::uint64_t flow_id, flow_end end) {
    if (cut_.empty() || cut_.erase(flow_id) == 0 || end != FLOW_END_killed) return end;
    return FLOW_END_policy_changed;
}

}  // namespace sluice::agent
