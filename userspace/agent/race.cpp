#include "userspace/agent/race.h"

#include <sys/socket.h>

#include <utility>

#include "userspace/agent/banner.h"
#include "userspace/agent/peek.h"
#include "userspace/agent/peek_until.h"
#include "userspace/agent/worker.h"

namespace sluice::agent {
namespace {

// For the rest of a greeting, from its first bytes: a lost segment comes again in that time. A server that
// says something else, and too little to tell, waits for its client meanwhile.
constexpr std::chrono::seconds banner_deadline{2};

// A server that says something unknown after a longer silence may have lost its own patience with a client.
constexpr std::chrono::seconds prompt{1};

bool is_prompt(const Flow& flow) {
    return Clock::now() - flow.times.connected < prompt;
}

enum class Speaker : std::uint8_t {
    client,  // has sent bytes: they must be judged (also when the server has spoken at the same time)
    server,  // has sent bytes, or finished, or one of the two has failed
    nobody,  // the patience is over
};

bool has_bytes(const Socket& socket) {
    char byte = 0;
    return ::recv(socket.native(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

asio::awaitable<Speaker> first_to_speak(Worker& worker, const Flow& flow, Socket& downstream,
                                        Socket& upstream, Patience& patience) {
    for (;;) {
        downstream.readable = upstream.readable = false;  // the next edges are about what these looks miss
        if (has_bytes(downstream)) co_return Speaker::client;
        if (has_bytes(upstream) || upstream.hung_up || downstream.failed) co_return Speaker::server;
        if (patience.over()) co_return Speaker::nobody;
        if (!downstream.hung_up) {
            co_await patience.either_readable(downstream, upstream);
            continue;
        }
        // A client that finished before it said anything has nothing to be judged by: only the server can
        // speak, and may wait to hear just that. Its FIN is acknowledged to it: it would send it for ever.
        worker.release(flow);
        ::shutdown(upstream.native(), SHUT_WR);
        co_await patience.readable_or_failed(upstream, downstream);
    }
}

asio::awaitable<OpeningPtr> peek_banner(Worker& worker, const Flow& flow, Socket& upstream,
                                        Socket& downstream, Patience& patience) {
    // What can change nothing is not waited for.
    const bool may_wait = !flow.verdict_is_final;
    const std::uint16_t port = flow.destination.port;
    std::optional<Banner> banner;
    bool is_held = true;
    patience.last_until(Clock::now() + banner_deadline);
    const auto bytes_needed = [&](std::span<const std::uint8_t> bytes) {
        banner = read_banner(bytes, port, !may_wait);
        if (banner) return std::size_t{0};
        if (std::exchange(is_held, false)) worker.release(flow);  // its rest may wait for an acknowledgement
        return bytes.size() + 1;
    };
    const Peeked peeked = co_await peek_until(upstream, downstream, patience, banner_bytes_max, bytes_needed,
                                              OtherSocket::may_speak);
    if (!banner) banner = read_banner(peeked.bytes, port, true);
    auto opening = std::make_unique<Opening>();
    opening->gone = downstream.failed;
    opening->silent = true;
    opening->protocol = banner->protocol;
    if (policy::may_start_tls(opening->protocol)) opening->to_come = policy::ToCome::hello;
    opening->ssh_server_version = std::move(banner->ssh_version);
    co_return opening;
}

}  // namespace

asio::awaitable<flow_end> race_to_speak(Worker& worker, Flow& flow, Socket& downstream, Socket& upstream,
                                        Patience& patience) {
    flow.state = FLOW_STATE_waiting;
    patience.last_until(Clock::now() + worker.config().idle_timeout);
    const Speaker first = co_await first_to_speak(worker, flow, downstream, upstream, patience);
    if (first == Speaker::nobody) co_return patience.ended() ? patience.ended_by() : FLOW_END_idle_timeout;
    OpeningPtr opening;
    if (first == Speaker::server)
        opening = co_await peek_banner(worker, flow, upstream, downstream, patience);
    // A client that did not wait for the whole of it is judged by its own words.
    const bool by_client = !opening || has_bytes(downstream);
    if (by_client) {
        worker.unlearn(flow);
        opening = co_await peek(downstream, patience, worker.peek_limits(flow));
    }
    // One that has finished is held to that: as packets its FIN could get lost, and a hello come after all.
    flow.delivered = !by_client && !downstream.hung_up;
    const bool speaks_first = !by_client && has_bytes(upstream) &&
                              (opening->protocol != policy::Protocol::server_first || is_prompt(flow));
    const flow_end end = worker.judge(flow, *opening, patience);
    if (end == FLOW_END_live && speaks_first) worker.learn(flow);
    co_return end;
}

}  // namespace sluice::agent
