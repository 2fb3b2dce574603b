#include "userspace/agent/relay.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "userspace/agent/crash.h"
#include "userspace/agent/segments.h"

namespace sluice::agent {
namespace {

constexpr int events_per_wait = 256;
// After so many batches the worker's other business (accepting, deadlines) gets its turn.
constexpr int batches_per_turn = 16;

}  // namespace

struct Relay::RelayedFlow {
    enum class Side : std::uintptr_t { client, server };

    std::unique_ptr<Flow> flow;
    datapath::Fd client_socket;
    datapath::Fd server_socket;
    Leg client;
    Leg server;
    RelayDirection up;
    RelayDirection down;
    bool yielded = false;
    bool closed = false;
    bool moved = true;  // since the last sweep

    // An epoll event names the flow and, in the pointer's lowest bit, the side.
    void* tag(Side side) {
        static_assert(alignof(RelayedFlow) > 1);
        return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(this) | static_cast<std::uintptr_t>(side));
    }
    static RelayedFlow& from_tag(void* tag) {
        return *reinterpret_cast<RelayedFlow*>(reinterpret_cast<std::uintptr_t>(tag) & ~std::uintptr_t{1});
    }
    Leg& leg_of(void* tag) { return (reinterpret_cast<std::uintptr_t>(tag) & 1) != 0 ? server : client; }
};

Relay::Relay(asio::io_context& io, RelayTimeouts timeouts, Finish finish)
    : timeouts_(timeouts),
      finish_(std::move(finish)),
      epoll_(io, ::epoll_create1(EPOLL_CLOEXEC)),
      buffer_(RelayDirection::chunk_bytes),
      now_(Clock::now()) {
    asio::co_spawn(io, run(), crash_on_exception);
}

Relay::~Relay() = default;

bool Relay::take(std::unique_ptr<Flow>& flow, datapath::Fd& client, datapath::Fd& server) {
    auto relayed = std::make_unique<RelayedFlow>();
    relayed->client.fd = client.get();
    relayed->server.fd = server.get();
    constexpr std::uint32_t events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    epoll_event on_client{.events = events, .data = {.ptr = relayed->tag(RelayedFlow::Side::client)}};
    epoll_event on_server{.events = events, .data = {.ptr = relayed->tag(RelayedFlow::Side::server)}};
    const int set = epoll_.native_handle();
    if (::epoll_ctl(set, EPOLL_CTL_ADD, client.get(), &on_client) != 0) return false;
    if (::epoll_ctl(set, EPOLL_CTL_ADD, server.get(), &on_server) != 0) {
        ::epoll_ctl(set, EPOLL_CTL_DEL, client.get(), nullptr);
        return false;
    }
    relayed->client_socket = std::move(client);
    relayed->server_socket = std::move(server);
    relayed->flow = std::move(flow);
    const std::uint64_t id = relayed->flow->id;
    flows_.emplace(id, std::move(relayed));
    return true;
}

asio::awaitable<void> Relay::run() {
    for (;;) {
        const auto [error] = co_await epoll_.async_wait(asio::posix::stream_descriptor::wait_read,
                                                        asio::as_tuple(asio::use_awaitable));
        if (error) co_return;
        for (int batch = 0; batch < batches_per_turn && process_events() + yielded_.size() > 0; ++batch) {
        }
        // Flows that yielded wait for no event: come back for them after the io_context's other work.
        while (!yielded_.empty()) {
            co_await asio::post(asio::use_awaitable);
            process_events();
        }
    }
}

std::size_t Relay::process_events() {
    std::array<epoll_event, events_per_wait> events;
    const int n = ::epoll_wait(epoll_.native_handle(), events.data(), events_per_wait, 0);
    now_ = Clock::now();
    for (int i = 0; i < n; ++i) {
        const auto& event = events[static_cast<std::size_t>(i)];
        RelayedFlow& relayed = RelayedFlow::from_tag(event.data.ptr);
        if (relayed.closed) continue;
        Leg& leg = relayed.leg_of(event.data.ptr);
        if ((event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) leg.readable = true;
        if ((event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) leg.hung_up = true;
        if ((event.events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) leg.writable = true;
        if ((event.events & EPOLLERR) != 0) leg.failed = true;
        if (!relayed.yielded) pump(relayed);
    }
    process_yielded();
    closed_.clear();
    return n > 0 ? static_cast<std::size_t>(n) : 0;
}

void Relay::process_yielded() {
    std::vector<RelayedFlow*> turn;
    turn.swap(yielded_);
    for (RelayedFlow* relayed : turn) {
        relayed->yielded = false;
        if (!relayed->closed) pump(*relayed);
    }
}

void Relay::pump(RelayedFlow& relayed) {
    if (!pump_direction(relayed, true) || !pump_direction(relayed, false)) return;
    if (relayed.up.finished() && relayed.down.finished()) return close(relayed, FLOW_END_closed);
    // A side that has sent its FIN is not read from any more: only the event tells of its RST.
    if (relayed.client.failed && relayed.up.finished()) return close(relayed, FLOW_END_client_reset);
    if (relayed.server.failed && relayed.down.finished()) return close(relayed, FLOW_END_server_reset);
}

// False: the flow is closed.
bool Relay::pump_direction(RelayedFlow& relayed, bool up) {
    RelayDirection& direction = up ? relayed.up : relayed.down;
    Leg& from = up ? relayed.client : relayed.server;
    Leg& to = up ? relayed.server : relayed.client;
    const std::uint64_t before = direction.bytes();
    const auto result = direction.pump(from, to, pipes_, buffer_);
    if (const std::uint64_t moved = direction.bytes() - before; moved > 0) {
        (up ? bytes_up_ : bytes_down_) += moved;
        relayed.flow->times.active = now_;
        relayed.moved = true;
    }
    const flow_end from_reset = up ? FLOW_END_client_reset : FLOW_END_server_reset;
    const flow_end to_reset = up ? FLOW_END_server_reset : FLOW_END_client_reset;
    switch (result) {
        case RelayDirection::Result::waiting:
        case RelayDirection::Result::finished:
            return true;
        case RelayDirection::Result::yielded:
            if (!std::exchange(relayed.yielded, true)) yielded_.push_back(&relayed);
            return true;
        case RelayDirection::Result::from_failed:
            close(relayed, from_reset);
            return false;
        case RelayDirection::Result::to_failed:
            // The receiver may have answered before it hung up: that still goes to the other side.
            (up ? relayed.down : relayed.up).pump(to, from, pipes_, buffer_);
            close(relayed, to_reset);
            return false;
    }
    return true;
}

// Anything but an orderly end is passed on as RST: a FIN would look like a complete transfer.
void Relay::close(RelayedFlow& relayed, flow_end why) {
    relayed.closed = true;
    count_packets(relayed);
    relayed.up.release(pipes_);
    relayed.down.release(pipes_);
    if (why != FLOW_END_closed) {
        reset_and_close(std::move(relayed.client_socket));
        reset_and_close(std::move(relayed.server_socket));
    }
    relayed.client_socket.reset();
    relayed.server_socket.reset();
    relayed.flow->up.bytes = relayed.up.bytes();
    relayed.flow->down.bytes = relayed.down.bytes();
    const auto position = flows_.find(relayed.flow->id);
    finish_(std::move(relayed.flow), why);
    closed_.push_back(std::move(position->second));
    flows_.erase(position);
}

void Relay::count_packets(RelayedFlow& relayed) {
    relayed.flow->up.packets = segments_received(relayed.client.fd);
    relayed.flow->down.packets = segments_received(relayed.server.fd);
}

bool Relay::end(std::uint64_t flow_id, flow_end why) {
    const auto position = flows_.find(flow_id);
    if (position == flows_.end()) return false;
    close(*position->second, why);
    return true;
}

void Relay::end_all(flow_end why) {
    while (!flows_.empty()) close(*flows_.begin()->second, why);
}

void Relay::stop() { epoll_.close(); }

void Relay::sweep(const Publish& publish) {
    const auto now = Clock::now();
    std::vector<std::pair<std::uint64_t, flow_end>> late;
    for (auto& [id, relayed] : flows_) {
        const auto silent = now - relayed->flow->times.active;
        const bool half_closed = relayed->up.finished() || relayed->down.finished();
        if (half_closed && silent >= timeouts_.half_close) {
            late.emplace_back(id, FLOW_END_half_close_timeout);
        } else if (silent >= timeouts_.idle) {
            late.emplace_back(id, FLOW_END_idle_timeout);
        } else if (std::exchange(relayed->moved, false)) {
            count_packets(*relayed);
            relayed->flow->up.bytes = relayed->up.bytes();
            relayed->flow->down.bytes = relayed->down.bytes();
            publish(*relayed->flow);
        }
    }
    for (const auto& [id, why] : late) end(id, why);
}

}  // namespace sluice::agent
