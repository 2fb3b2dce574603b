#include "userspace/agent/proxy_exchange.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <expected>
#include <span>
#include <vector>

#include "userspace/agent/connect_request.h"
#include "userspace/agent/listener.h"
#include "userspace/agent/name_lookup.h"
#include "userspace/agent/peek_until.h"
#include "userspace/agent/socks_request.h"
#include "userspace/agent/upstream.h"
#include "userspace/agent/worker.h"
#include "userspace/datapath/routing.h"

namespace sluice::agent {
namespace {

using Bytes = std::span<const std::uint8_t>;
using Asked = std::expected<ProxyTarget, flow_end>;

// So many of a name's addresses are tried, one after the other.
constexpr std::size_t addresses_max = 4;

bool say(Proxied& proxied, const Socket& client, std::string_view text) {
    if (::send(client.native(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) !=
        static_cast<ssize_t>(text.size()))
        return false;
    proxied.answer_bytes += static_cast<std::uint32_t>(text.size());
    return true;
}

// What has been understood; what comes behind it stays unread.
void consume(Proxied& proxied, const Socket& client, std::size_t bytes) {
    ::recv(client.native(), nullptr, bytes, MSG_TRUNC | MSG_DONTWAIT);  // discards, as tcp(7) says
    proxied.request_bytes += static_cast<std::uint32_t>(bytes);
}

std::unexpected<flow_end> refused(Proxied& proxied, std::uint16_t why_not) {
    proxied.why_not = why_not;
    return std::unexpected(FLOW_END_proxy_request_refused);
}

std::unexpected<flow_end> unfinished(const Peeked& peeked, const Patience& patience) {
    if (patience.ended()) return std::unexpected(patience.ended_by());
    return std::unexpected(peeked.end == Peeked::End::failed ? FLOW_END_client_gone
                                                             : FLOW_END_proxy_request_refused);
}

asio::awaitable<Asked> read_socks_request(Proxied& proxied, Socket& client, Patience& patience,
                                          SocksGreeting greeting) {
    constexpr std::uint16_t no_acceptable_method = 0xff;
    if (greeting.status == SocksStatus::refused || !greeting.no_authentication)
        co_return refused(proxied, no_acceptable_method);
    consume(proxied, client, greeting.bytes);
    if (!say(proxied, client, socks_method(true))) co_return std::unexpected(FLOW_END_client_gone);
    SocksRequest request;
    constexpr std::size_t request_bytes_max = 4 + 1 + 255 + 2;
    const Peeked peeked =
        co_await peek_until(client, client, patience, request_bytes_max, [&request](Bytes bytes) {
            request = parse_socks_request(bytes);
            return request.status == SocksStatus::incomplete ? request.bytes : 0;
        });
    if (request.status == SocksStatus::refused)
        co_return refused(proxied, static_cast<std::uint16_t>(request.reply));
    if (request.status == SocksStatus::incomplete || peeked.end == Peeked::End::failed)
        co_return unfinished(peeked, patience);
    consume(proxied, client, request.bytes);
    co_return std::move(request.target);
}

asio::awaitable<Asked> read_request(Proxied& proxied, Socket& client, Patience& patience) {
    ConnectRequest request;
    SocksGreeting greeting;
    const Peeked peeked =
        co_await peek_until(client, client, patience, connect_head_bytes_max, [&](Bytes bytes) {
            const bool is_socks = bytes[0] == socks_version;
            const bool is_text = bytes[0] >= 'A' && bytes[0] <= 'Z';
            if (!is_socks && !is_text) return std::size_t{0};
            proxied.via = is_socks ? policy::Via::socks5 : policy::Via::connect;
            if (is_socks) {
                greeting = parse_socks_greeting(bytes);
                return greeting.status == SocksStatus::incomplete ? greeting.bytes : 0;
            }
            request = parse_connect_request(bytes);
            return request.status == ConnectRequest::Status::incomplete ? bytes.size() + 1 : 0;
        });
    if (peeked.end != Peeked::End::enough) co_return unfinished(peeked, patience);
    if (proxied.via == policy::Via::socks5)
        co_return co_await read_socks_request(proxied, client, patience, greeting);
    if (request.status != ConnectRequest::Status::complete) co_return refused(proxied, request.http_status);
    consume(proxied, client, request.bytes);
    co_return std::move(request.target);
}

// Where no client may go by way of the gateway: what is reached there is the gateway itself, or trusts
// whoever shares a link with it. Policies speak of other hosts.
bool is_off_limits(const policy::IpAddress& address) {
    static const std::array off_limits = {
        *policy::Cidr::parse("0.0.0.0/8"),   *policy::Cidr::parse("127.0.0.0/8"),
        *policy::Cidr::parse("224.0.0.0/3"), *policy::Cidr::parse("169.254.0.0/16"),
        *policy::Cidr::parse("::/96"),       *policy::Cidr::parse("fe80::/10"),
        *policy::Cidr::parse("ff00::/8")};
    return std::ranges::any_of(off_limits,
                               [&](const policy::Cidr& range) { return range.contains(address); }) ||
           datapath::is_routed_here(address);
}

flow_end tell_success(Flow& flow, const Socket& downstream) {
    Proxied& proxied = *flow.proxied;
    if (!say(proxied, downstream, proxy_success(proxied.via))) return FLOW_END_client_gone;
    proxied.answered = true;
    return FLOW_END_live;
}

// Tries one address after the other.
asio::awaitable<flow_end> reach(Worker& worker, Flow& flow, Socket& downstream, SocketPtr& upstream,
                                Patience& patience, std::span<const policy::IpAddress> addresses) {
    flow_end end = FLOW_END_proxy_destination_refused;
    for (const policy::IpAddress& address : addresses.first(std::min(addresses.size(), addresses_max))) {
        flow.destination.address = address;
        flow.dialled = flow.destination;
        if (is_off_limits(address)) continue;
        const auto early = worker.judge_early(flow, true);
        if (early == policy::Action::deny) {
            end = FLOW_END_denied;
            continue;
        }
        if (!early) co_return tell_success(flow, downstream);
        auto connected = co_await connect_upstream(flow, downstream, patience, worker);
        if (connected) {
            upstream = std::move(*connected);
            co_return tell_success(flow, downstream);
        }
        end = connected.error();
        worker.return_descriptor(flow);
        if (patience.ended() || end == FLOW_END_client_gone) break;
    }
    co_return end;
}

}  // namespace

asio::awaitable<flow_end> admit_proxied(Worker& worker, Flow& flow, Socket& downstream, SocketPtr& upstream,
                                        Patience& patience) {
    Proxied& proxied = *flow.proxied;
    patience.last_until(Clock::now() + worker.config().hello_deadline);
    Asked asked = co_await read_request(proxied, downstream, patience);
    if (!asked) co_return asked.error();
    proxied.asked_name = asked->name;
    flow.destination.port = asked->port;
    flow.dialled = flow.destination;
    std::vector<policy::IpAddress> addresses;
    if (asked->address) addresses.push_back(*asked->address);
    flow_end end = FLOW_END_live;
    if (addresses.empty()) {
        // Names that are denied are not looked up: a name server can be told things, too.
        if (worker.judge_early(flow, false) == policy::Action::deny) end = FLOW_END_denied;
        if (end == FLOW_END_live) {
            auto found =
                co_await look_up(asked->name, worker.reactor(), downstream, patience, flow.source.address,
                                 Clock::now() + worker.config().connect_timeout);
            if (!found) co_return found.error();
            addresses = std::move(*found);
        }
    }
    if (end == FLOW_END_live) end = co_await reach(worker, flow, downstream, upstream, patience, addresses);
    if (end == FLOW_END_denied) worker.log_early_denial(flow);
    co_return end;
}

}  // namespace sluice::agent
