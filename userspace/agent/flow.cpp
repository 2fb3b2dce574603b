// The file to read first: the life of one connection, top to bottom. Each step is a file of its own.
#include "userspace/agent/flow.h"

#include "userspace/agent/beginning.h"
#include "userspace/agent/hello_exchange.h"
#include "userspace/agent/name_check.h"
#include "userspace/agent/peek.h"
#include "userspace/agent/proxy_exchange.h"
#include "userspace/agent/race.h"
#include "userspace/agent/refuse.h"
#include "userspace/agent/upstream.h"
#include "userspace/agent/worker.h"

namespace sluice::agent {
namespace {

// `live`: both sockets are connected, and every byte that could be judged has been; or the flow is spliced
// already, and there is no `upstream`. Else how the flow ends.
asio::awaitable<flow_end> set_up(Worker& worker, Flow& flow, Socket& downstream, SocketPtr& upstream,
                                 Patience& patience) {
    // A client of the proxy says first where it wants to go. Its server may be connected then.
    if (flow.proxied) {
        const flow_end admitted = co_await admit_proxied(worker, flow, downstream, upstream, patience);
        if (admitted != FLOW_END_live) co_return admitted;
    }

    // Wait, without consuming, for the first bytes; judge by what they say. (Of a client that had no socket
    // so far, this has been done: deferred_clients.h.)
    bool is_silent = false;
    if (!flow.judged) {
        OpeningPtr opening = co_await peek(downstream, patience, worker.peek_limits(flow));
        is_silent = opening->silent;
        flow_end end = worker.judge(flow, *opening, patience);
        // What it says is no more than a claim: where the policy asks for it, see what name servers say.
        if (end == FLOW_END_live && flow.needs_evidence())
            end = co_await check_name(worker, flow, downstream, patience);
        if (end != FLOW_END_live) co_return end;
        if (co_await worker.dial(flow, downstream, patience)) co_return FLOW_END_live;
    }
    if (patience.ended()) co_return patience.ended_by();
    // Pinned to another address than the one that the proxy's client was connected to.
    if (upstream && flow.is_pinned()) {
        worker.return_descriptor(flow);
        upstream.reset();
    }
    if (!upstream) {
        auto connected = co_await connect_upstream(flow, downstream, patience, worker);
        if (!connected) co_return connected.error();
        upstream = std::move(*connected);
    }

    // A silent client was judged before anybody had spoken, and is judged again on what is said first: else
    // silence would be a way around every rule.
    if (is_silent) {
        flow_end end = co_await race_to_speak(worker, flow, downstream, *upstream, patience);
        if (end == FLOW_END_live && flow.needs_evidence())
            end = co_await check_name(worker, flow, downstream, patience);
        co_return end;
    }
    co_return FLOW_END_live;
}

// The same for the second hello of a TLS flow, if there is one: the agent carries the first round.
asio::awaitable<flow_end> judge_second_hello(Worker& worker, Flow& flow, Socket& downstream, Socket& upstream,
                                             Patience& patience) {
    // The server may ask for a second hello, and believe that one: it is judged like the first.
    const auto answer =
        co_await exchange_hello(flow, downstream, upstream, patience, worker.config().idle_timeout);
    if (!answer) co_return answer.error();
    flow.delivered = true;
    if (*answer == ServerSays::go_on) co_return FLOW_END_live;
    worker.release(flow);  // a round more than a hold can last
    OpeningPtr opening = co_await peek_second_hello(downstream, patience, worker.peek_limits(flow));
    keep_beginning(flow, *opening);
    const flow_end end = worker.judge(flow, *opening, patience);
    if (end == FLOW_END_live && flow.needs_evidence())
        co_return co_await check_name(worker, flow, downstream, patience);
    co_return end;
}

asio::awaitable<flow_end> deliver(Worker& worker, Flow& flow, Socket& downstream, Socket& upstream,
                                  Patience& patience) {
    const auto delivered =
        co_await deliver_first_bytes(flow, downstream, upstream, patience, worker.config().idle_timeout);
    if (!delivered) co_return delivered.error();
    flow.delivered = *delivered;
    co_return FLOW_END_live;
}

}  // namespace

asio::awaitable<void> run_flow(Worker& worker, std::unique_ptr<Flow> flow, SocketPtr downstream) {
    Patience patience(worker.deadlines(), *flow);
    SocketPtr upstream;
    flow_end end = co_await set_up(worker, *flow, *downstream, upstream, patience);
    if (end == FLOW_END_live && !upstream) co_return;  // dialled, and spliced
    // What begins in the clear may have a name all the same, a little later.
    if (end == FLOW_END_live && flow->to_come == policy::ToCome::hello)
        end = co_await judge_beginning(worker, *flow, *downstream, *upstream, patience);
    if (end == FLOW_END_live && flow->has_hello())
        end = co_await judge_second_hello(worker, *flow, *downstream, *upstream, patience);
    // Ended meanwhile: by a kill, or by another policy.
    if (end == FLOW_END_live && patience.ended()) end = patience.ended_by();
    // Before any mode but the relay may have it, the server must have what was judged.
    if (end == FLOW_END_live && !flow->delivered && worker.splices_packets(*flow))
        end = co_await deliver(worker, *flow, *downstream, *upstream, patience);
    if (end == FLOW_END_live && patience.ended()) end = patience.ended_by();
    if (end == FLOW_END_live && worker.splice_as_packets(*flow, *downstream, *upstream)) co_return;
    if (end == FLOW_END_live)
        co_return worker.splice(std::move(flow), std::move(downstream), std::move(upstream));
    if (upstream) upstream->reset();
    if (is_silent(*flow, end))
        worker.silence(*flow);
    else
        worker.release(*flow);  // a client that waits for an acknowledgement would go on sending
    co_await refuse(*downstream, *flow, end, patience);
    worker.finish(std::move(flow), end);
}

}  // namespace sluice::agent
