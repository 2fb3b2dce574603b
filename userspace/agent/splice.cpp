#include "userspace/agent/splice.h"

#include <utility>

namespace sluice::agent {

Splice::Splice(asio::io_context& io, const Config& config, PacketMode* packet,
               std::uint32_t sockmap_flows_max, Finish finish)
    : choice_(config.splice),
      packet_(packet),
      relay_(io, {.idle = config.idle_timeout, .half_close = config.half_close_timeout}, std::move(finish),
             sockmap_flows_max > 0 ? std::make_unique<SockmapSplice>(io, sockmap_flows_max) : nullptr) {}

// A mode is asked when the operator forced it, or forced none.
bool Splice::asks(splice_mode mode) const {
    return choice_ == SpliceChoice::automatic || static_cast<splice_mode>(choice_) == mode;
}

splice_reason Splice::reason_of_choice() const {
    return choice_ == SpliceChoice::automatic ? SPLICE_REASON_automatic : SPLICE_REASON_configured;
}

bool Splice::wants_packets(Flow& flow) const {
    if (!packet_ || !asks(SPLICE_MODE_packet)) return false;
    flow.reason = reason_of_choice();
    return true;
}

bool Splice::take_as_packets(Flow& flow, Socket& client, Socket& server) {
    if (!wants_packets(flow)) return false;
    const auto taken = packet_->take(flow, client, server);
    if (!taken) {
        flow.reason = taken.error();
        return false;
    }
    flow.mode = SPLICE_MODE_packet;
    return true;
}

void Splice::take(std::unique_ptr<Flow> flow, SocketPtr client, SocketPtr server) {
    flow->state = FLOW_STATE_spliced;
    flow->times.spliced = flow->times.active = Clock::now();
    if (flow->reason == SPLICE_REASON_undecided) flow->reason = reason_of_choice();
    if (flow->is_local) flow->reason = SPLICE_REASON_local_client;
    flow->mode = SPLICE_MODE_relay;
    // The sockmap's flows are the relay's. `auto` does not choose it: docs/performance.md has the figures.
    const auto lending = choice_ == SpliceChoice::sockmap && !flow->is_local ? Relay::Lending::of_dialogues
                                                                             : Relay::Lending::never;
    relay_.take(std::move(flow), std::move(client), std::move(server), lending);
}

bool Splice::end(std::uint64_t flow_id, flow_end why) {
    return relay_.end(flow_id, why);
}

void Splice::end_all(flow_end why) {
    relay_.end_all(why);
}

void Splice::stop() {
    relay_.stop();
}

void Splice::sweep(const Publish& publish) {
    relay_.sweep(publish);
}

}  // namespace sluice::agent
