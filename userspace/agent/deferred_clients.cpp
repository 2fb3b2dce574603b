#include "userspace/agent/deferred_clients.h"

#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

#include "userspace/agent/crash.h"
#include "userspace/agent/worker.h"
#include "userspace/datapath/flow_endpoint.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::agent {
namespace {

// At the end of which the client has not yet sent its first bytes again.
constexpr int socket_tries = 20;
constexpr std::chrono::milliseconds socket_pause{1};

}  // namespace

DeferredClients::DeferredClients(Worker& worker, unsigned number)
    : worker_(worker),
      packet_(*worker.packet()),
      ring_(packet_.table(), number, [this](const deferred_client& client) { take(client); }),
      events_(worker.io(), ::dup(ring_.events_fd())) {
    wait();
}

void DeferredClients::stop() {
    events_.close();
    ring_.read();
}

void DeferredClients::wait() {
    events_.async_wait(asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
        if (error) return;
        ring_.read();
        wait();
    });
}

void DeferredClients::take(const deferred_client& client) {
    const auto bytes = datapath::first_bytes(client);
    if (bytes.empty()) return packet_.deliver(client.tuple);
    auto flow = worker_.admit(datapath::endpoint(datapath::packet_source(client.tuple)),
                              datapath::endpoint(datapath::packet_destination(client.tuple)),
                              {client.data, client.bytes});
    const auto dial = flow ? packet_.dial(*flow, bytes, client.server) : std::nullopt;
    if (!dial) return open_socket({client.tuple, client.peer_isn, bytes}, std::move(flow));
    const auto outcome = worker_.dialling().outcome_so_far(*flow, *dial);
    if (!outcome) {
        asio::co_spawn(worker_.io(),
                       wait_for_server(std::move(flow), *dial, client.peer_isn, {bytes.begin(), bytes.end()}),
                       crash_on_exception);
    } else if (*outcome) {
        worker_.forget(*flow);
    } else {
        open_socket({client.tuple, client.peer_isn, bytes}, std::move(flow));
    }
}

asio::awaitable<void> DeferredClients::wait_for_server(std::unique_ptr<Flow> flow, PacketMode::Dial dial,
                                                       std::uint32_t isn, std::string first_bytes) {
    flow_end end = FLOW_END_live;
    {
        const Patience patience(worker_.deadlines(), *flow);
        if (co_await worker_.dialling().outcome(*flow, dial))
            co_return worker_.leave_to_packets(*flow, patience);
        end = patience.ended_by();
    }
    open_socket({dial.client, isn, first_bytes}, std::move(flow), end);
}

void DeferredClients::open_socket(const PacketMode::Unaccepted& client, std::unique_ptr<Flow> flow,
                                  flow_end end) {
    auto socket = packet_.make_socket(client);
    if (socket || socket.error() != EADDRNOTAVAIL)
        return use_socket(client.tuple, std::move(socket), std::move(flow), end);
    asio::co_spawn(
        worker_.io(),
        open_socket_later(client.tuple, client.isn, {client.first_bytes.begin(), client.first_bytes.end()},
                          std::move(flow), end),
        crash_on_exception);
}

// The segment that makes the kernel forget the connection request may still be on its way there; or something
// has kept it from there, a firewall or a checksum, and the client's next one finds the request.
asio::awaitable<void> DeferredClients::open_socket_later(packet_tuple tuple, std::uint32_t isn,
                                                         std::string first_bytes, std::unique_ptr<Flow> flow,
                                                         flow_end end) {
    asio::steady_timer pause(worker_.io());
    std::expected<datapath::Fd, int> socket = std::unexpected(EADDRNOTAVAIL);
    std::optional<Patience> patience;
    if (flow) patience.emplace(worker_.deadlines(), *flow);
    for (int i = 0; i < socket_tries && events_.is_open() && !socket && socket.error() == EADDRNOTAVAIL;
         ++i) {
        pause.expires_after(socket_pause);
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        // Who would begin now would not be ended.
        if (flow || events_.is_open()) socket = packet_.make_socket({tuple, isn, first_bytes});
    }
    if (patience && patience->ended()) end = patience->ended_by();
    patience.reset();  // the flow goes on, or ends
    if (!socket && socket.error() == EADDRNOTAVAIL) packet_.deliver(tuple);
    use_socket(tuple, std::move(socket), std::move(flow), end);
}

void DeferredClients::use_socket(const packet_tuple& tuple, std::expected<datapath::Fd, int> socket,
                                 std::unique_ptr<Flow> flow, flow_end end) {
    const auto source = datapath::endpoint(datapath::packet_source(tuple));
    if (socket && flow) return worker_.start(std::move(flow), std::move(*socket), end);
    if (socket) return worker_.open_deferred(std::move(*socket), source);
    const bool is_requested = socket.error() == EADDRNOTAVAIL;  // and will be accepted
    const bool has_left = is_requested || socket.error() == ECONNRESET;
    if (end == FLOW_END_live) end = has_left ? FLOW_END_client_gone : FLOW_END_descriptor_limit;
    if (flow) return worker_.finish(std::move(flow), end);
    if (!is_requested)
        worker_.lose_deferred(source, datapath::endpoint(datapath::packet_destination(tuple)), end);
}

}  // namespace sluice::agent
