#pragma once
// One core's share of the gateway: a thread with its own io_context, listeners, flows and splices. Workers
// share nothing but what Shared names.
#include <array>
#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "userspace/agent/config.h"
#include "userspace/agent/deferred_clients.h"
#include "userspace/agent/dial.h"
#include "userspace/agent/flow.h"
#include "userspace/agent/learning.h"
#include "userspace/agent/log.h"
#include "userspace/agent/patience.h"
#include "userspace/agent/peek.h"
#include "userspace/agent/splice.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/neighbours.h"
#include "userspace/names/resolver.h"

namespace sluice::agent {

// What all workers use. The policy is replaced as a whole; everything else is fixed, or safe from any thread.
struct Shared {
    const Config config;  // without its policy
    const std::uint64_t flows_max;
    const std::uint64_t sockets_max;
    PacketMode* const packet;  // null: the mode is not used
    datapath::FlowTable& table;
    datapath::LearnedServers& learned;
    Log& log;
    names::Resolver& resolver;
    const std::uint32_t sockmap_flows_max;  // of each worker; 0: that mode cannot be used here
    std::atomic<std::shared_ptr<const policy::Policy>> policy;
    std::atomic<std::uint64_t> flow_id_next = 1;
    std::atomic<std::uint64_t> flows_live = 0;  // without those that are spliced as packets
    std::atomic<std::uint64_t> sockets_open = 0;
};

struct Totals {
    std::atomic<std::uint64_t> flows_accepted = 0;
    std::atomic<std::uint64_t> bytes_up = 0;  // of flows that have ended
    std::atomic<std::uint64_t> bytes_down = 0;
    std::array<std::atomic<std::uint64_t>, FLOW_END_COUNT> ends{};
};

// That were judged again.
struct LiveFlows {
    std::size_t flows = 0;
    std::size_t cut = 0;
};

class Worker {
  public:
    Worker(Shared& shared, unsigned number);
    ~Worker();

    void start();  // the thread
    // From any thread.
    void kill(std::uint64_t flow_id);
    // Judges again by the policy as it is now whatever lives in this worker, and ends what must end; `done`
    // is called on its thread, when no flow that was let in by an earlier policy can leave it any more but
    // into the packet splice.
    void rejudge(std::function<void(const LiveFlows&)> done);
    void stop();  // ends every flow, then the thread; returns when it is done
    const Totals& totals() const { return totals_; }

    // For run_flow, on this worker's thread.
    Deadlines& deadlines() { return deadlines_; }
    Reactor& reactor() { return reactor_; }
    asio::io_context& io() { return io_; }
    names::Resolver& resolver() { return shared_.resolver; }
    std::shared_ptr<const policy::Policy> policy() const { return shared_.policy; }
    const Config& config() const { return shared_.config; }
    PacketMode* packet() const { return shared_.packet; }  // null: the mode is not used
    PeekLimits peek_limits(Flow& flow);                    // the flow must outlive them

    // For what a silent client's flow has shown of its server.
    void learn(const Flow& flow) {
        learning_.learn(flow.source.address, flow.destination, flow.protocol, Clock::now());
        if (shared_.packet) shared_.packet->shun_server(flow);
    }
    void unlearn(const Flow& flow) { learning_.forget(flow.destination); }

    // Writes what is known and the verdict into the flow, and the verdict into the log. `live`: go on; else
    // how it ends. Of a flow that needs evidence the log is left to check_name().
    flow_end judge(Flow& flow, Opening& opening, const Patience& patience);
    // If it is to be. `end`: how the flow ends, when evidence said so.
    void log_verdict(const Flow& flow, flow_end end = FLOW_END_live);
    // What the policy does with a flow of the proxy whose client has only asked for its destination; nothing:
    // it depends on what will be said. A denial is written into the flow.
    std::optional<policy::Action> judge_early(Flow& flow, bool has_destination);
    void log_early_denial(Flow& flow);
    // One more descriptor for this flow, until it ends. False: there is none.
    bool take_descriptor(Flow& flow);
    void return_descriptor(Flow& flow);
    void splice(std::unique_ptr<Flow> flow, SocketPtr client, SocketPtr server);
    // True: the flow goes on without us, and its sockets are closed. False: nothing has happened to it.
    bool splices_packets(const Flow& flow) const {
        return shared_.packet != nullptr && !flow.is_local && flow.reason != SPLICE_REASON_starttls;
    }
    bool splice_as_packets(Flow& flow, Socket& client, Socket& server);
    // The same, in place of connecting upstream: the client's first bytes have been judged.
    asio::awaitable<bool> dial(Flow& flow, Socket& client, const Patience& patience);
    void release(const Flow& flow) const;  // from its hold (packet_mode.h)
    void silence(const Flow& flow) const;  // instead: its client is to hear nothing
    void finish(std::unique_ptr<Flow> flow, flow_end end);

    // For a client whose first bytes were read without a socket: its flow, judged and allowed, and to be
    // dialled. Null: it needs a socket, and nothing has happened.
    std::unique_ptr<Flow> admit(const policy::Endpoint& source, const policy::Endpoint& destination,
                                std::span<const std::uint8_t> first_bytes);
    Dialling& dialling() { return dialling_; }
    // The flow is spliced. `patience`: of what has led there.
    void leave_to_packets(Flow& flow, const Patience& patience);
    void forget(Flow& flow);
    // With a socket all the same: as if it had been accepted, or with its flow as it is by now.
    void open_deferred(datapath::Fd socket, const policy::Endpoint& source);
    void start(std::unique_ptr<Flow> flow, datapath::Fd socket, flow_end end);
    // It gets none, and has no flow: what there is to be counted and logged of it.
    void lose_deferred(const policy::Endpoint& source, const policy::Endpoint& destination, flow_end end);

  private:
    enum class Listening : std::uint8_t { to_captured, to_proxied };
    asio::awaitable<void> accept_flows(asio::posix::stream_descriptor& listener, Listening listening);
    void open_flow(datapath::Fd socket, const policy::Endpoint& source, Listening listening);
    flow_end identify(Flow& flow, int socket, Listening listening) const;
    asio::awaitable<void> sweep_for_ever();
    void publish(Flow& flow);
    bool need_not_wait(Flow& flow);
    std::shared_ptr<const policy::Policy> policy_for(Flow& flow);
    LiveFlows rejudge_now();
    std::unique_ptr<Flow> make_flow(const policy::Endpoint& source);
    bool has_room();
    void judge_silently(Flow& flow, Opening& opening);
    bool can_dial(Flow& flow) const;

    Shared& shared_;
    unsigned number_;
    asio::io_context io_{1};
    asio::executor_work_guard<asio::io_context::executor_type> work_;
    Reactor reactor_;
    Deadlines deadlines_;
    Splice splice_;
    Dialling dialling_;
    datapath::Neighbours neighbours_;
    Learning learning_;
    std::optional<DeferredClients> deferred_clients_;
    std::vector<asio::posix::stream_descriptor> listeners_;  // the proxy's are the last ones
    asio::steady_timer sweep_timer_;
    Totals totals_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace sluice::agent
