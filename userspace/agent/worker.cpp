#include "userspace/agent/worker.h"

#include <pthread.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "policy/early_verdict.h"
#include "policy/prospect.h"
#include "userspace/agent/crash.h"
#include "userspace/agent/flow_log.h"
#include "userspace/agent/listener.h"

namespace sluice::agent {
namespace {

// So many connections are accepted before the flows that already exist get their turn: few, since a burst
// accepted at once also waits at once.
constexpr int accepts_per_turn = 8;
// accept(2) failed for want of a resource: the connection stays in the backlog meanwhile.
constexpr std::chrono::milliseconds accept_pause{100};
// Flows are listed, timed out and counted at this interval: one that lives shorter never costs a map update.
constexpr std::chrono::milliseconds sweep_interval{250};

}  // namespace

Worker::Worker(Shared& shared, unsigned number)
    : shared_(shared),
      number_(number),
      work_(asio::make_work_guard(io_)),
      reactor_(io_),
      deadlines_(io_),
      splice_(io_, shared.config, shared.packet, shared.sockmap_flows_max,
              [this](std::unique_ptr<Flow> flow, flow_end end) { finish(std::move(flow), end); }),
      dialling_(io_, shared.packet),
      learning_(shared.learned),
      sweep_timer_(io_) {
    for (const Family family : {Family::v4, Family::v6}) {
        if (!shared.config.captures) continue;
        if (auto listener = open_listener(shared.config.capture, family))
            listeners_.emplace_back(io_, listener->release());
    }
    const std::size_t of_captured = listeners_.size();
    for (const policy::Endpoint& where : shared.config.proxy.listen)
        listeners_.emplace_back(io_, open_proxy_listener(where).release());
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
        const auto listening = i < of_captured ? Listening::to_captured : Listening::to_proxied;
        asio::co_spawn(io_, accept_flows(listeners_[i], listening), crash_on_exception);
    }
    asio::co_spawn(io_, sweep_for_ever(), crash_on_exception);
    if (shared.packet && number < DEFERRED_RINGS_MAX) deferred_clients_.emplace(*this, number);
}

Worker::~Worker() {
    if (thread_.joinable()) stop();
}

void Worker::start() {
    thread_ = std::thread([this] { io_.run(); });
    ::pthread_setname_np(thread_.native_handle(), ("sluice-" + std::to_string(number_)).c_str());
}

void Worker::kill(std::uint64_t flow_id) {
    asio::post(io_, [this, flow_id] {
        if (!splice_.end(flow_id, FLOW_END_killed)) deadlines_.end(flow_id, FLOW_END_killed);
    });
}

void Worker::rejudge(std::function<void(const LiveFlows&)> done) {
    asio::post(io_, [this, done = std::move(done)] { done(rejudge_now()); });
}

// Each flow by all that is known of it. Whoever is set up at this moment has been judged and is judged again
// here, or will be: by the new policy, as this thread sees it from here on.
LiveFlows Worker::rejudge_now() {
    const auto policy = shared_.policy.load();
    const bool kills = policy->on_reload() == policy::OnReload::kill;
    LiveFlows count;
    std::vector<std::uint64_t> over;
    const auto goes_on = [&](Flow& flow) {
        flow.find_mac(*policy, neighbours_);
        const bool was_logged = flow.outcome.log;
        if (flow.is_pinned())
            flow.take(flow.judge_again(*policy));
        else
            flow.judge(*policy);
        flow.outcome.log = flow.outcome.log || was_logged;
        return flow.allowed();
    };
    splice_.for_each_flow([&](Flow& flow) {
        ++count.flows;
        if (!goes_on(flow) || kills)
            over.push_back(flow.id);
        else if (flow.listed)
            publish(flow);
    });
    for (const std::uint64_t id : over)
        splice_.end(id, FLOW_END_policy_changed);
    deadlines_.for_each_flow([&](Patience& patience) {
        Flow& flow = patience.flow();
        if (!flow.judged || !flow.allowed() || patience.ended()) return;
        ++count.flows;
        if (goes_on(flow)) return;
        patience.end(FLOW_END_denied);
        ++count.cut;
    });
    count.cut += over.size();
    return count;
}

void Worker::stop() {
    asio::post(io_, [this] {
        stopping_ = true;
        for (auto& listener : listeners_)
            listener.close();
        if (deferred_clients_) deferred_clients_->stop();
        sweep_timer_.cancel();
        deadlines_.stop();
        splice_.end_all(FLOW_END_stopped);
        splice_.stop();
        reactor_.stop();
        work_.reset();
    });
    thread_.join();
}

// The flow then has what the policy asks of a client, be it another one than judged it before.
std::shared_ptr<const policy::Policy> Worker::policy_for(Flow& flow) {
    auto policy = shared_.policy.load();
    flow.find_mac(*policy, neighbours_);
    return policy;
}

// Its server is known to speak first, and a silent client would be let go on: then the server is dialled at
// once, and the race is the same, only shorter. Any other client has its time to speak.
bool Worker::need_not_wait(Flow& flow) {
    if (flow.judged || !learning_.knows(flow.destination)) return false;
    const auto policy = policy_for(flow);
    policy::Facts silent = flow.facts();
    silent.protocol = policy::Protocol::server_first;
    silent.client_was_silent = true;
    silent.to_come = policy::ToCome::greeting;
    return policy::judge_so_far(*policy, silent).verdict.allowed();
}

PeekLimits Worker::peek_limits(Flow& flow) {
    const Config& config = shared_.config;
    return {.hello_bytes_max = config.hello_bytes_max,
            .hello_deadline = config.hello_deadline,
            .silence = need_not_wait(flow) ? std::chrono::milliseconds(0) : config.silence,
            .incomplete = shared_.packet ? [this, &flow] { release(flow); } : std::function<void()>()};
}

asio::awaitable<void> Worker::accept_flows(asio::posix::stream_descriptor& listener, Listening listening) {
    asio::steady_timer pause(io_);
    while (!stopping_) {
        co_await listener.async_wait(asio::posix::stream_descriptor::wait_read,
                                     asio::as_tuple(asio::use_awaitable));
        int error = 0;
        for (int i = 0; i < accepts_per_turn && error == 0 && !stopping_; ++i) {
            auto accepted = accept_one(listener.native_handle());
            if (!accepted) {
                error = accepted.error();
                break;
            }
            open_flow(std::move(accepted->socket), accepted->source, listening);
        }
        const bool lacks_resources =
            error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
        if (!lacks_resources) continue;
        totals_.ends[FLOW_END_descriptor_limit].fetch_add(1, std::memory_order_relaxed);
        pause.expires_after(accept_pause);
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

// Whose it is, and where it goes as far as that is known. `live`, or why it is refused.
flow_end Worker::identify(Flow& flow, int socket, Listening listening) const {
    if (listening == Listening::to_proxied) {
        flow.proxied = std::make_unique<Proxied>();
        flow.proxied->listener = local_endpoint(socket);
        flow.is_local = is_own_address(flow.source.address);
        return shared_.config.proxy.serves(flow.source.address) ? FLOW_END_live
                                                                : FLOW_END_proxy_source_refused;
    }
    const auto destination = original_destination(socket, shared_.config.capture);
    if (destination) flow.destination = flow.dialled = *destination;
    flow.is_local = shared_.config.capture.local && is_own_address(flow.source.address);
    return destination ? FLOW_END_live : FLOW_END_not_redirected;
}

std::unique_ptr<Flow> Worker::make_flow(const policy::Endpoint& source) {
    auto flow = std::make_unique<Flow>();
    flow->id = shared_.flow_id_next.fetch_add(1, std::memory_order_relaxed);
    flow->source = source;
    flow->times.accepted = flow->times.active = Clock::now();
    return flow;
}

// Counts one more. False: there are too many.
bool Worker::has_room() {
    const std::uint64_t spliced_as_packets = shared_.packet ? shared_.packet->table().size() : 0;
    return shared_.flows_live.fetch_add(1, std::memory_order_relaxed) + spliced_as_packets <
           shared_.flows_max;
}

void Worker::open_flow(datapath::Fd socket, const policy::Endpoint& source, Listening listening) {
    totals_.flows_accepted.fetch_add(1, std::memory_order_relaxed);
    auto flow = make_flow(source);
    flow_end end = identify(*flow, socket.get(), listening);
    if (!has_room()) end = FLOW_END_flow_limit;
    start(std::move(flow), std::move(socket), end);
}

void Worker::open_deferred(datapath::Fd socket, const policy::Endpoint& source) {
    open_flow(std::move(socket), source, Listening::to_captured);
}

void Worker::start(std::unique_ptr<Flow> flow, datapath::Fd socket, flow_end end) {
    if (!take_descriptor(*flow) && end == FLOW_END_live) end = FLOW_END_descriptor_limit;
    if (end != FLOW_END_live) {
        reset_and_close(std::move(socket));
        return finish(std::move(flow), end);
    }
    asio::co_spawn(io_,
                   run_flow(*this, std::move(flow), std::make_unique<Socket>(reactor_, std::move(socket))),
                   crash_on_exception);
}

std::unique_ptr<Flow> Worker::admit(const policy::Endpoint& source, const policy::Endpoint& destination,
                                    std::span<const std::uint8_t> first_bytes) {
    auto flow = make_flow(source);
    flow->destination = flow->dialled = destination;
    auto opening = read_opening(first_bytes, {.hello_bytes_max = shared_.config.hello_bytes_max,
                                              .hello_deadline = shared_.config.hello_deadline});
    if (stopping_ || !opening || opening->trouble != FLOW_END_live) return nullptr;
    judge_silently(*flow, *opening);
    const bool is_decided = flow->to_come == policy::ToCome::nothing && !flow->needs_evidence();
    if (!flow->allowed() || !is_decided || !can_dial(*flow)) return nullptr;
    if (!has_room()) {
        forget(*flow);
        return nullptr;
    }
    totals_.flows_accepted.fetch_add(1, std::memory_order_relaxed);
    flow->state = FLOW_STATE_connecting;
    log_verdict(*flow);
    return flow;
}

void Worker::lose_deferred(const policy::Endpoint& source, const policy::Endpoint& destination,
                           flow_end end) {
    totals_.flows_accepted.fetch_add(1, std::memory_order_relaxed);
    auto flow = make_flow(source);
    flow->destination = flow->dialled = destination;
    shared_.flows_live.fetch_add(1, std::memory_order_relaxed);
    finish(std::move(flow), end);
}

bool Worker::take_descriptor(Flow& flow) {
    if (shared_.sockets_open.fetch_add(1, std::memory_order_relaxed) < shared_.sockets_max) {
        ++flow.descriptors;
        return true;
    }
    shared_.sockets_open.fetch_sub(1, std::memory_order_relaxed);
    return false;
}

void Worker::return_descriptor(Flow& flow) {
    shared_.sockets_open.fetch_sub(1, std::memory_order_relaxed);
    --flow.descriptors;
}

std::optional<policy::Action> Worker::judge_early(Flow& flow, bool has_destination) {
    const auto policy = policy_for(flow);
    flow.protocol = policy::Protocol::unknown;
    const auto verdict = policy::early_verdict(*policy, flow.facts(), has_destination);
    if (!verdict) return std::nullopt;
    if (!verdict->allowed()) flow.take(*verdict);
    return verdict->outcome.action;
}

void Worker::log_early_denial(Flow& flow) {
    flow.judged = true;
    flow.times.judged = Clock::now();
    log_verdict(flow);
}

void Worker::judge_silently(Flow& flow, Opening& opening) {
    flow.protocol = opening.protocol;
    flow.began_as = opening.began_as;
    flow.hello = std::move(opening.hello);
    flow.host = std::move(opening.host);
    flow.ssh_version = std::move(opening.ssh_version);
    flow.ssh_server_version = std::move(opening.ssh_server_version);
    flow.client_was_silent = opening.silent;
    flow.to_come = opening.to_come;
    flow.has_started_tls = opening.has_started_tls;
    if (!std::exchange(flow.judged, true)) flow.times.judged = Clock::now();
    const auto policy = policy_for(flow);
    flow.ja4 = flow.has_hello() ? tls::ja4(flow.hello) : std::string();
    flow.judge(*policy);
    // No hello can change it: the flow is carried at once as what it is.
    if (flow.verdict_is_final && flow.to_come == policy::ToCome::hello)
        flow.to_come = policy::ToCome::nothing;
}

flow_end Worker::judge(Flow& flow, Opening& opening, const Patience& patience) {
    if (patience.ended()) return patience.ended_by();
    if (opening.gone) return FLOW_END_client_gone;
    judge_silently(flow, opening);
    // What lets a flow go on before all is known is no verdict yet.
    const bool is_decided = flow.to_come == policy::ToCome::nothing || !flow.allowed();
    if (is_decided && !flow.needs_evidence()) log_verdict(flow);
    if (flow.allowed()) return FLOW_END_live;
    return opening.trouble == FLOW_END_live ? FLOW_END_denied : opening.trouble;
}

void Worker::log_verdict(const Flow& flow, flow_end end) {
    if (flow.outcome.log) agent::log_verdict(shared_.log, flow, end);
}

void Worker::splice(std::unique_ptr<Flow> flow, SocketPtr client, SocketPtr server) {
    splice_.take(std::move(flow), std::move(client), std::move(server));
}

void Worker::forget(Flow& flow) {
    if (flow.listed) shared_.table.erase(flow.id);
    shared_.flows_live.fetch_sub(1, std::memory_order_relaxed);
    shared_.sockets_open.fetch_sub(flow.descriptors, std::memory_order_relaxed);
}

// It lives on in the packet splice, which lists it and says how it ends.
bool Worker::splice_as_packets(Flow& flow, Socket& client, Socket& server) {
    if (!splices_packets(flow)) return false;
    if (!flow.delivered) {
        flow.reason = SPLICE_REASON_undelivered;
        release(flow);
        return false;
    }
    if (!splice_.take_as_packets(flow, client, server)) return false;
    forget(flow);
    return true;
}

// Where the gateway's own address is used, the kernel has to find a port. What is dialled has one destination
// on both legs.
bool Worker::can_dial(Flow& flow) const {
    return shared_.config.upstream_source == UpstreamSource::client && flow.opens_at_once() &&
           splices_packets(flow) && splice_.wants_packets(flow);
}

asio::awaitable<bool> Worker::dial(Flow& flow, Socket& client, const Patience& patience) {
    if (!can_dial(flow)) co_return false;
    flow.state = FLOW_STATE_connecting;
    const auto dial = shared_.packet->dial(flow, client);
    if (!dial || !co_await dialling_.outcome(flow, *dial)) co_return false;
    client.vanish();
    leave_to_packets(flow, patience);
    co_return true;
}

void Worker::leave_to_packets(Flow& flow, const Patience& patience) {
    // Ended meanwhile: by a kill, or by another policy.
    if (patience.ended() && patience.ended_by() != FLOW_END_stopped) shared_.packet->table().kill(flow.id);
    forget(flow);
}

void Worker::release(const Flow& flow) const {
    if (shared_.packet) shared_.packet->release(flow);
}

void Worker::silence(const Flow& flow) const {
    if (shared_.packet) shared_.packet->silence(flow);
}

void Worker::finish(std::unique_ptr<Flow> flow, flow_end end) {
    forget(*flow);
    totals_.ends[end].fetch_add(1, std::memory_order_relaxed);
    totals_.bytes_up.fetch_add(flow->up.bytes, std::memory_order_relaxed);
    totals_.bytes_down.fetch_add(flow->down.bytes, std::memory_order_relaxed);
    if (!flow->judged || flow->outcome.log) log_end(shared_.log, *flow, end);
}

void Worker::publish(Flow& flow) {
    flow.listed = shared_.table.put(flow.record()) || flow.listed;
}

asio::awaitable<void> Worker::sweep_for_ever() {
    while (!stopping_) {
        sweep_timer_.expires_after(sweep_interval);
        co_await sweep_timer_.async_wait(asio::as_tuple(asio::use_awaitable));
        splice_.sweep([this](Flow& flow) { publish(flow); });
        // A flow that is still being set up by now is one that somebody may look for.
        deadlines_.for_each_flow([this](Patience& patience) {
            Flow& flow = patience.flow();
            if (!flow.listed && Clock::now() - flow.times.accepted >= sweep_interval) publish(flow);
        });
    }
}

}  // namespace sluice::agent
