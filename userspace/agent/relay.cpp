#include "userspace/agent/relay.h"

#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <utility>

#include "userspace/agent/relayed_flow.h"
#include "userspace/agent/segments.h"

namespace sluice::agent {
namespace {

// A busy flow's counters are read from the kernel and written to the table no more often than this.
constexpr std::chrono::seconds publish_interval{1};

}  // namespace

Relay::Relay(asio::io_context& io, RelayTimeouts timeouts, Finish finish,
             std::unique_ptr<SockmapSplice> sockmap)
    : io_(io),
      timeouts_(timeouts),
      finish_(std::move(finish)),
      sockmap_(std::move(sockmap)),
      look_timer_(io),
      buffer_(RelayDirection::chunk_bytes) {
    if (!sockmap_) return;
    sockmap_->on_news([this](std::uint64_t flow_id) {
        if (const auto position = flows_.find(flow_id); position != flows_.end()) pump(*position->second);
    });
}

Relay::~Relay() = default;

void Relay::take(std::unique_ptr<Flow> flow, SocketPtr client, SocketPtr server, Lending lending) {
    const std::uint64_t id = flow->id;
    auto owned = std::make_unique<RelayedFlow>(*this, std::move(flow), std::move(client), std::move(server));
    RelayedFlow& relayed = *flows_.emplace(id, std::move(owned)).first->second;
    relayed.reason_of_choice = relayed.flow->reason;
    if (sockmap_ && lending == Lending::of_dialogues) {
        relayed.lending = lending;
        relayed.flow->reason = SPLICE_REASON_no_dialogue;
    }
    if (!relayed.client->subscribe(&relayed) || !relayed.server->subscribe(&relayed)) {
        return close(relayed, FLOW_END_descriptor_limit);
    }
    // What was peeked is still there, and no new edge will tell of it.
    for (Socket* socket : {relayed.client.get(), relayed.server.get()})
        socket->readable = socket->writable = true;
    pump(relayed);
}

// Moves what can be moved, both ways. The flow may be gone afterwards.
void Relay::pump(RelayedFlow& relayed) {
    if (relayed.sockmap) {
        attend(relayed);
        return;
    }
    if (!pump_one(relayed, Way::up) || !pump_one(relayed, Way::down)) return;
    if (relayed.up.finished() && relayed.down.finished()) return close(relayed, FLOW_END_closed);
    // A side that has sent its FIN is not read from any more: only the event tells of its RST.
    if (relayed.client->failed && relayed.up.finished()) return close(relayed, FLOW_END_client_reset);
    if (relayed.server->failed && relayed.down.finished()) return close(relayed, FLOW_END_server_reset);
    if (relayed.lending != Lending::never) lend(relayed);
}

// False: the flow is closed.
bool Relay::pump_one(RelayedFlow& relayed, Way way) {
    const bool up = way == Way::up;
    RelayDirection& direction = up ? relayed.up : relayed.down;
    Socket& from = up ? *relayed.client : *relayed.server;
    Socket& to = up ? *relayed.server : *relayed.client;
    const std::uint64_t before = direction.bytes();
    const auto result = direction.pump(from, to, pipes_, buffer_);
    if (const std::uint64_t moved = direction.bytes() - before; moved > 0) {
        count_turn(relayed, way, moved);
        relayed.flow->times.active = Clock::now();
        relayed.moved = true;
    }
    switch (result) {
        case RelayDirection::Result::waiting:
            return true;
        case RelayDirection::Result::finished:
            // The last FIN of a flow is sent by its close.
            if (!(up ? relayed.down : relayed.up).finished()) ::shutdown(to.native(), SHUT_WR);
            return true;
        case RelayDirection::Result::yielded:
            yield(relayed);
            return true;
        case RelayDirection::Result::from_failed:
            close(relayed, up ? FLOW_END_client_reset : FLOW_END_server_reset);
            return false;
        case RelayDirection::Result::to_failed:
            // The receiver may have answered before it hung up: that still goes to the other side.
            (up ? relayed.down : relayed.up).pump(to, from, pipes_, buffer_);
            close(relayed, up ? FLOW_END_server_reset : FLOW_END_client_reset);
            return false;
    }
    return true;
}

// This flow could go on, but it is others' turn.
void Relay::yield(RelayedFlow& relayed) {
    if (std::exchange(relayed.yielded, true)) return;
    if (yielded_.empty()) asio::post(io_, [this] { resume_yielded(); });
    yielded_.push_back(relayed.flow->id);
}

void Relay::resume_yielded() {
    for (const std::uint64_t id : std::exchange(yielded_, {})) {
        const auto position = flows_.find(id);
        if (position == flows_.end()) continue;
        position->second->yielded = false;
        pump(*position->second);
    }
}

void Relay::count_bytes(RelayedFlow& relayed) {
    relayed.flow->up.bytes = relayed.up.bytes();
    relayed.flow->down.bytes = relayed.down.bytes();
}

// Anything but an orderly end is passed on as RST: a FIN would look like a complete transfer.
void Relay::close(RelayedFlow& relayed, flow_end why) {
    if (relayed.sockmap) count_carried(relayed);
    relayed.sockmap.reset();
    count_bytes(relayed);
    relayed.up.release(pipes_);
    relayed.down.release(pipes_);
    if (why != FLOW_END_closed) {
        relayed.client->reset();
        relayed.server->reset();
    }
    auto flow = std::move(relayed.flow);
    flows_.erase(flow->id);
    finish_(std::move(flow), why);
}

void Relay::for_each_flow(const std::function<void(Flow&)>& visit) {
    for (auto& [id, relayed] : flows_)
        visit(*relayed->flow);
}

bool Relay::end(std::uint64_t flow_id, flow_end why) {
    const auto position = flows_.find(flow_id);
    if (position == flows_.end()) return false;
    close(*position->second, why);
    return true;
}

void Relay::end_all(flow_end why) {
    while (!flows_.empty())
        close(*flows_.begin()->second, why);
}

void Relay::stop() {
    look_timer_.cancel();
    if (sockmap_) sockmap_->stop();
}

void Relay::sweep(const Publish& publish) {
    const auto now = Clock::now();
    std::vector<std::pair<std::uint64_t, flow_end>> late;
    std::vector<std::uint64_t> waiting;
    for (auto& [id, relayed] : flows_) {
        if (relayed->sockmap) count_carried(*relayed);
        const auto silent = now - relayed->flow->times.active;
        const bool half_closed = relayed->up.finished() || relayed->down.finished();
        if (relayed->sockmap && (relayed->waits || relayed->sockmap->passing(Side::client) ||
                                 relayed->sockmap->passing(Side::server)))
            waiting.push_back(id);
        if (half_closed && silent >= timeouts_.half_close) {
            late.emplace_back(id, FLOW_END_half_close_timeout);
        } else if (silent >= timeouts_.idle) {
            late.emplace_back(id, FLOW_END_idle_timeout);
        } else if (relayed->moved && now - relayed->published >= publish_interval) {
            relayed->moved = false;
            relayed->published = now;
            count_bytes(*relayed);
            relayed->flow->up.packets = segments_received(relayed->client->native());
            relayed->flow->down.packets = segments_received(relayed->server->native());
            publish(*relayed->flow);
        }
    }
    for (const auto& [id, why] : late)
        end(id, why);
    for (const std::uint64_t id : waiting) {
        const auto position = flows_.find(id);
        if (position == flows_.end() || position->second->yielded) continue;
        pump(*position->second);
    }
}

}  // namespace sluice::agent
