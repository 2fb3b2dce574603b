#include "userspace/agent/hello_exchange.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "userspace/agent/pass_on.h"
#include "userspace/agent/peek_until.h"
#include "userspace/tls/server_hello.h"

namespace sluice::agent {
namespace {

// A server that has not shown by then what it answers is not asking for a second hello.
constexpr std::size_t answer_bytes_max = 64 * 1024;

// How long the server's acknowledgement is waited for at least; a client's first retransmission comes after
// 200 ms, and is acknowledged to it. And at most, for those far away: one loss takes about three round trips.
constexpr std::chrono::milliseconds delivery_min{150};
constexpr std::chrono::milliseconds delivery_max{3000};
constexpr int delivery_round_trips = 4;
// How soon after the last look it is looked for again.
constexpr std::chrono::milliseconds first_look{1};
constexpr std::chrono::milliseconds last_look{50};

bool is_acknowledged(const Socket& socket) {
    int unacknowledged = 0;
    return ::ioctl(socket.native(), SIOCOUTQ, &unacknowledged) == 0 && unacknowledged == 0;
}

std::chrono::milliseconds delivery_time(const Socket& server) {
    tcp_info info{};
    socklen_t bytes = sizeof info;
    if (::getsockopt(server.native(), IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) return delivery_min;
    const std::chrono::milliseconds round_trip(info.tcpi_rtt / 1000);
    return std::clamp(round_trip * delivery_round_trips, delivery_min, delivery_max);
}

// What a client has sent on top is acknowledged to it when its hold has ended.
bool has_said_more(const Socket& client) {
    int unread = 0;
    return ::ioctl(client.native(), SIOCINQ, &unread) == 0 && unread > 0;
}

flow_end not_in_time(const Patience& patience) {
    return patience.ended() ? patience.ended_by() : FLOW_END_idle_timeout;
}

}  // namespace

asio::awaitable<std::expected<ServerSays, flow_end>> exchange_hello(Flow& flow, Socket& downstream,
                                                                    Socket& upstream, Patience& patience,
                                                                    std::chrono::seconds idle_timeout) {
    patience.last_until(Clock::now() + idle_timeout);
    const Passed hello = co_await pass_on(flow.hello.bytes, downstream, upstream, patience);
    if (hello == Passed::from_failed) co_return std::unexpected(FLOW_END_client_reset);
    if (hello == Passed::not_in_time) co_return std::unexpected(not_in_time(patience));
    // A server that hung up may have said why: the splice reads it.
    if (hello == Passed::to_failed) co_return ServerSays::go_on;
    flow.up.bytes += flow.hello.bytes;

    flow.state = FLOW_STATE_waiting;
    tls::ServerHello seen;
    co_await peek_until(upstream, downstream, patience, answer_bytes_max, [&seen](auto bytes) {
        seen = tls::parse_server_hello(bytes);
        const bool goes_on =
            seen.answer == tls::ServerAnswer::incomplete && seen.bytes_needed <= answer_bytes_max;
        return goes_on ? seen.bytes_needed : 0;
    });
    if (patience.over()) co_return std::unexpected(not_in_time(patience));
    if (downstream.failed) co_return std::unexpected(FLOW_END_client_reset);
    if (seen.answer != tls::ServerAnswer::hello_retry_request) co_return ServerSays::go_on;

    const Passed request = co_await pass_on(seen.bytes, upstream, downstream, patience);
    if (request == Passed::from_failed) co_return std::unexpected(FLOW_END_server_reset);
    if (request == Passed::to_failed) co_return std::unexpected(FLOW_END_client_reset);
    if (request == Passed::not_in_time) co_return std::unexpected(not_in_time(patience));
    flow.down.bytes += seen.bytes;
    co_return ServerSays::hello_again;
}

asio::awaitable<std::expected<bool, flow_end>> deliver_first_bytes(Flow& flow, Socket& downstream,
                                                                   Socket& upstream, Patience& patience,
                                                                   std::chrono::seconds idle_timeout) {
    int unread = 0;
    if (::ioctl(downstream.native(), SIOCINQ, &unread) != 0 || unread <= 0) co_return false;
    patience.last_until(Clock::now() + idle_timeout);
    const auto bytes = static_cast<std::size_t>(unread);
    const Passed passed = co_await pass_on(bytes, downstream, upstream, patience);
    if (passed == Passed::from_failed) co_return std::unexpected(FLOW_END_client_reset);
    if (passed == Passed::not_in_time) co_return std::unexpected(not_in_time(patience));
    // A server that hung up may have said why: the splice reads it.
    if (passed == Passed::to_failed) co_return false;
    flow.up.bytes += bytes;
    const auto held_until = Clock::now() + delivery_min;
    const auto deadline = Clock::now() + delivery_time(upstream);
    // A client of the proxy has been answered, too.
    const auto all_acknowledged = [&] { return is_acknowledged(upstream) && is_acknowledged(downstream); };
    for (auto wait = first_look; !all_acknowledged(); wait = std::min(wait * 2, last_look)) {
        const auto now = Clock::now();
        if (upstream.readable || now >= deadline || (now >= held_until && has_said_more(downstream))) break;
        patience.last_until(now + wait);
        co_await patience.readable_or_failed(upstream, downstream);
        if (patience.ended()) co_return std::unexpected(patience.ended_by());
        if (downstream.failed) co_return std::unexpected(FLOW_END_client_reset);
    }
    co_return all_acknowledged();
}

}  // namespace sluice::agent
