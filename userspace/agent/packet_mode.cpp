#include "userspace/agent/packet_mode.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

#include "userspace/agent/recorded_facts.h"

#include "userspace/datapath/leg_socket.h"
#include "userspace/datapath/packet_reset.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::agent {
namespace {

packet_tuple tuple_of(const policy::Endpoint& source, const policy::Endpoint& destination) {
    packet_tuple out{};
    datapath::packet_address(out.source, source.address.bytes().data(), source.address.is_v4());
    datapath::packet_address(out.destination, destination.address.bytes().data(),
                             destination.address.is_v4());
    out.source_port = htons(source.port);
    out.destination_port = htons(destination.port);
    return out;
}

// A client's first retransmission comes after 200 ms, and a hold ends before: what connects as slowly as this
// by a socket would not be answered in time.
constexpr std::chrono::milliseconds near{50};

splice_reason reason_of(datapath::PacketRefusal refusal) {
    switch (refusal) {
        case datapath::PacketRefusal::table_full:
            return SPLICE_REASON_table_full;
        case datapath::PacketRefusal::tuple_in_use:
            return SPLICE_REASON_tuple_in_use;
        case datapath::PacketRefusal::interface:
        case datapath::PacketRefusal::failed:
            break;
    }
    return SPLICE_REASON_unavailable;
}

std::uint64_t nanoseconds(Clock::time_point time) {
    return static_cast<std::uint64_t>(time.time_since_epoch().count());
}

// `facts` must outlive it.
datapath::PacketFlow record_of(const Flow& flow, std::string_view facts) {
    return {.id = flow.id,
            .accepted_ns = nanoseconds(flow.times.accepted),
            .server_name = flow.server_name(),
            .rule = flow.rule,
            .facts = facts,
            .protocol = static_cast<std::uint8_t>(flow.protocol),
            .reason = static_cast<std::uint8_t>(flow.reason),
            .is_logged = flow.outcome.log};
}

// What waits in the client's socket: what was judged, and perhaps more; as much as can be guarded. Good until
// the next call.
std::span<char> peek_first_bytes(const Socket& client) {
    thread_local std::array<char, PACKET_GUARD_BYTES_MAX> buffer;
    const ssize_t got = ::recv(client.native(), buffer.data(), buffer.size(), MSG_PEEK | MSG_DONTWAIT);
    return std::span(buffer).first(got > 0 ? static_cast<std::size_t>(got) : 0);
}

}  // namespace

PacketMode::PacketMode(const std::string& state_directory, const datapath::PacketSpliceOptions& options)
    : splice_(datapath::PacketSplice::own(state_directory, options)),
      hold_(splice_),
      dials_(splice_),
      servers_(splice_) {
    // Whoever has spoken to an agent that was killed has no socket that the kernel could have closed.
    hold_.hold_listeners({});
    for (const packet_tuple& client : hold_.unread_clients()) {
        if (const auto leg = hold_.client_leg(client)) reset_client(client, *leg);
    }
}

std::expected<void, splice_reason> PacketMode::take(Flow& flow, Socket& client, Socket& server) {
    if (flow.down.bytes > 0) {
        release(flow);
        return std::unexpected(SPLICE_REASON_acknowledged);
    }
    // A client of the proxy may ask for an address of the other family.
    if (flow.source.address.is_v4() != flow.dialled.address.is_v4()) {
        release(flow);
        return std::unexpected(SPLICE_REASON_families_differ);
    }
    const packet_tuple downstream = tuple_of(flow.source, flow.gateway_end());
    const packet_tuple upstream = tuple_of(flow.dialled, flow.upstream_source);
    datapath::PacketHold::Carried carried{.sent = static_cast<std::uint32_t>(flow.up.bytes)};
    if (flow.proxied) {
        carried.asked = flow.proxied->request_bytes;
        carried.answered = flow.proxied->answer_bytes;
    }
    const auto legs = hold_.take(downstream, upstream, carried);
    if (!legs) return std::unexpected(legs.error());
    const std::string facts = facts_text(flow.facts());
    const auto inserted = splice_.insert(record_of(flow, facts), legs->up, legs->down);
    if (!inserted) {
        release(flow);
        return std::unexpected(reason_of(inserted.error()));
    }
    if (legs->client_has_more) pass_on(client, legs->up_segment, legs->client_finished);
    if (legs->server_has_more) pass_on(server, legs->down_segment, legs->server_finished);
    client.vanish();
    server.vanish();
    // The server is dialled as the client has dialled it, on the wire too, and has answered at once.
    const bool is_same = std::memcmp(&legs->up.route.leaves, &downstream, sizeof downstream) == 0;
    if (is_same && flow.opens_at_once() && flow.times.connected - flow.times.judged <= near) {
        servers_.learn(downstream, {.until_ns = 0,
                                    .clock = legs->clock,
                                    .mss = legs->mss,
                                    .segment_bytes = legs->up_segment.segment_bytes});
    }
    return {};
}

std::optional<PacketMode::Dial> PacketMode::dial(const Flow& flow, const Socket& client) {
    const auto server = servers_.find(tuple_of(flow.source, flow.gateway_end()));
    if (!server) return std::nullopt;
    return dial(flow, peek_first_bytes(client), *server);
}

std::optional<PacketMode::Dial> PacketMode::dial(const Flow& flow, std::span<const char> first_bytes,
                                                 const near_server& server) {
    const bool is_tls = flow.protocol == policy::Protocol::tls;
    if (first_bytes.empty() || first_bytes.size() > server.segment_bytes) return std::nullopt;
    if (is_tls && first_bytes.size() != flow.hello.bytes) return std::nullopt;
    const std::string facts = facts_text(flow.facts());
    return dials_.start(record_of(flow, facts), tuple_of(flow.source, flow.gateway_end()), first_bytes,
                        {.clock = server.clock, .mss = server.mss, .is_watched = is_tls});
}

void PacketMode::shun_server(const Flow& flow) {
    servers_.shun(tuple_of(flow.source, flow.gateway_end()));
}

void PacketMode::forget_server(const Flow& flow) {
    servers_.forget(tuple_of(flow.source, flow.gateway_end()));
}

std::expected<datapath::Fd, int> PacketMode::make_socket(const Unaccepted& client) {
    const auto leg = hold_.client_leg(client.tuple);
    const bool is_there = leg && leg->peer_isn == client.isn && leg->deferred == DEFERRED_taken;
    if (!is_there || (leg->events & LEG_RST) != 0) return std::unexpected(ECONNRESET);
    auto socket = datapath::socket_of_leg(*leg, client.tuple, client.first_bytes);
    if (!socket && socket.error() == EADDRNOTAVAIL) return socket;
    if (!socket) {
        const int error = socket.error();
        reset_client(client.tuple, *leg);
        return std::unexpected(error);
    }
    // Only now: a packet that finds no socket is answered with an RST.
    hold_.deliver(client.tuple);
    return socket;
}

void PacketMode::reset_client(const packet_tuple& client, const held_leg& leg) {
    datapath::send_reset(datapath::packet_reverse(client), leg.local_isn + 1);
    hold_.deliver(client);
}

bool PacketMode::refuse(const Flow& flow, std::uint32_t slot) {
    const std::string facts = facts_text(flow.facts());
    return splice_.refuse(slot, record_of(flow, facts));
}

bool PacketMode::pass(const Flow& flow, const packet_hello_head& last, std::uint32_t seq,
                      std::span<const char> hello) {
    const std::string facts = facts_text(flow.facts());
    if (!splice_.pass(last.slot, record_of(flow, facts), seq, hello)) return false;
    injector_.inject({.tuple = tuple_of(flow.source, flow.gateway_end()),
                      .seq = seq,
                      .ack = last.ack,
                      .window = last.window,
                      .timestamps = last.has_timestamps != 0,
                      .tsval = last.tsval,
                      .tsecr = last.tsecr},
                     hello);
    return true;
}

void PacketMode::announce(const Flow& flow, int socket) {
    hold_.announce(socket, tuple_of(flow.source, flow.gateway_end()));
}

void PacketMode::silence(const Flow& flow) {
    hold_.silence(tuple_of(flow.source, flow.gateway_end()));
}

void PacketMode::release(const Flow& flow) {
    const auto probe = hold_.release(tuple_of(flow.source, flow.gateway_end()),
                                     tuple_of(flow.dialled, flow.upstream_source));
    if (probe) injector_.inject(*probe, {});
}

// Sends what waits in a socket to the other end, as segments of its sender's. Not one byte of it has been
// acknowledged, so what is lost here, or arrives behind our back, its sender sends again.
void PacketMode::pass_on(const Socket& from, datapath::InjectedSegment segment, bool finished) {
    thread_local std::vector<char> buffer(datapath::PacketInjector::payload_bytes_max);
    for (;;) {
        const ssize_t got = ::recv(from.native(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got < 0) return;
        const auto bytes = static_cast<std::size_t>(got);
        const bool more = bytes == buffer.size();
        segment.fin = got == 0;
        injector_.inject(segment, std::span(buffer).first(bytes));
        segment.seq += static_cast<std::uint32_t>(bytes);
        if (segment.fin || (!more && !finished)) return;
    }
}

}  // namespace sluice::agent
