#include "userspace/datapath/packet_hold.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "bpf/packet_handover.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::datapath {
namespace {

constexpr std::uint32_t ns_per_ms = 1'000'000;
// RFC 9293 3.7.1, for a peer that announces none.
constexpr std::uint16_t mss_default = 536;
constexpr std::uint16_t timestamps_bytes = 12;

std::uint16_t segment_bytes(const held_leg& leg) {
    const std::uint16_t peer = leg.peer_mss != 0 ? leg.peer_mss : mss_default;
    const std::uint16_t mss = std::min(peer, leg.local_mss);
    const std::uint16_t options = (leg.options & LEG_TIMESTAMPS) != 0 ? timestamps_bytes : 0;
    return static_cast<std::uint16_t>(mss - options);
}

PacketDirection direction(const held_leg& from, const held_leg& to, const packet_tuple& arrives,
                          const packet_tuple& other_arrives) {
    PacketDirection out;
    out.arrives = arrives;
    out.route.leaves = packet_reverse(other_arrives);
    handover_route(&out.route, &from, &to);
    return out;
}

InjectedSegment first_segment(const held_leg& from, const held_leg& to, const PacketDirection& direction) {
    return {.tuple = direction.arrives,
            .seq = from.peer_isn + 1,
            .ack = from.peer_ack,
            .window = from.peer_window,
            .timestamps = (from.options & LEG_TIMESTAMPS) != 0,
            // The sender's own last one: what it sends itself later must not be older. The echo is exactly
            // what the receiver sent last: one in the midst of its handshake accepts no other (Linux 6.14,
            // tcp_check_req).
            .tsval = from.peer_tsval,
            .tsecr = to.peer_tsval - direction.route.tsecr_delta,
            .segment_bytes = segment_bytes(to)};
}

}  // namespace

PacketHandover translate_legs(take_legs legs) {
    legs.client.peer_isn += legs.asked;
    legs.client.local_isn += legs.answered;
    PacketHandover out;
    out.up = direction(legs.client, legs.server, legs.downstream, legs.upstream);
    out.down = direction(legs.server, legs.client, legs.upstream, legs.downstream);
    out.down.route.is_down = 1;
    out.up_segment = first_segment(legs.client, legs.server, out.up);
    out.down_segment = first_segment(legs.server, legs.client, out.down);
    out.up_segment.seq += legs.sent;
    out.client_has_more = (legs.client.events & LEG_FIN) != 0 || legs.client.peer_next != out.up_segment.seq;
    out.server_has_more = (legs.server.events & (LEG_PAYLOAD | LEG_FIN)) != 0;
    out.client_finished = (legs.client.events & LEG_FIN) != 0;
    out.server_finished = (legs.server.events & LEG_FIN) != 0;
    out.clock = legs.server.local_tsval - static_cast<std::uint32_t>(legs.server.local_tsval_ns / ns_per_ms);
    out.mss = legs.server.local_mss;
    return out;
}

PacketHold::PacketHold(const PacketSplice& splice)
    : take_legs_program_(splice.program_fd("take_legs")),
      control_map_(splice.map_fd("hold_control")),
      legs_map_(splice.map_fd("held_legs")),
      dials_map_(splice.map_fd("held_dials")) {}

void PacketHold::announce(int socket, const packet_tuple& downstream) {
    // Without it the leg stays unknown, and the flow is carried in another mode.
    bpf_map_update_elem(dials_map_, &socket, &downstream, BPF_ANY);
}

void PacketHold::hold_listeners(const Listeners& listeners,
                                const std::array<std::uint64_t, 2>& dial_sockets) {
    const __u32 zero = 0;
    const hold_control control{.listener_port = listeners.port,
                               .proxy_ports = {listeners.proxy_ports[0], listeners.proxy_ports[1]},
                               .dial_sockets = {dial_sockets[0], dial_sockets[1]},
                               .deferred_rings = listeners.deferred_rings,
                               .unused = 0};
    if (bpf_map_update_elem(control_map_, &zero, &control, BPF_ANY) != 0)
        throw StateError(std::string("hold_control: ") + std::strerror(errno));
}

void PacketHold::stop(const std::string& state_directory) {
    const Fd control_map(bpf_obj_get((state_directory + "/hold_control").c_str()));
    const __u32 zero = 0;
    const hold_control nobody{};
    if (control_map) bpf_map_update_elem(control_map.get(), &zero, &nobody, BPF_ANY);
}

bool PacketHold::run(take_legs& request) {
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.ctx_in = &request;
    options.ctx_size_in = sizeof request;  // and what the program writes comes back in it
    return bpf_prog_test_run_opts(take_legs_program_, &options) == 0;
}

std::expected<PacketHandover, splice_reason> PacketHold::take(const packet_tuple& downstream,
                                                              const packet_tuple& upstream,
                                                              const Carried& carried) {
    take_legs request{};
    request.request = LEGS_take;
    request.sent = carried.sent;
    request.asked = carried.asked;
    request.answered = carried.answered;
    request.downstream = downstream;
    request.upstream = upstream;
    if (!run(request)) return std::unexpected(SPLICE_REASON_unavailable);
    if (request.reason != SPLICE_REASON_automatic)
        return std::unexpected(static_cast<splice_reason>(request.reason));
    return translate_legs(request);
}

std::optional<InjectedSegment> PacketHold::release(const packet_tuple& downstream,
                                                   const packet_tuple& upstream) {
    take_legs request{};
    request.request = LEGS_release;
    request.downstream = downstream;
    request.upstream = upstream;
    if (!run(request) || request.client.acks_dropped == 0) return std::nullopt;
    const held_leg& client = request.client;
    return InjectedSegment{.tuple = downstream,
                           .seq = client.peer_isn,
                           .ack = client.peer_ack,
                           .window = client.peer_window,
                           .timestamps = (client.options & LEG_TIMESTAMPS) != 0,
                           .tsval = client.peer_tsval,
                           .tsecr = client.local_tsval};
}

std::optional<held_leg> PacketHold::client_leg(const packet_tuple& downstream) const {
    held_leg leg{};
    if (bpf_map_lookup_elem(legs_map_, &downstream, &leg) != 0 || leg.is_upstream != 0) return std::nullopt;
    return leg;
}

std::vector<packet_tuple> PacketHold::unread_clients() const {
    std::vector<packet_tuple> clients;
    packet_tuple key{};
    for (const packet_tuple* last = nullptr; bpf_map_get_next_key(legs_map_, last, &key) == 0; last = &key) {
        const auto leg = client_leg(key);
        if (leg && leg->deferred == DEFERRED_taken && leg->state == LEG_held) clients.push_back(key);
    }
    return clients;
}

void PacketHold::silence(const packet_tuple& downstream) {
    take_legs request{};
    request.request = LEGS_silence;
    request.downstream = downstream;
    run(request);
}

void PacketHold::deliver(const packet_tuple& downstream) {
    take_legs request{};
    request.request = LEGS_deliver;
    request.downstream = downstream;
    run(request);
}

}  // namespace sluice::datapath
