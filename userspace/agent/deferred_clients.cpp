#include "userspace/agent/deferred_clients.h"

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <cerrno>
#include <utility>

#include "userspace/agent/crash.h"
#include "userspace/agent/worker.h"
#include "userspace/datapath/flow_endpoint.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::agent {

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
    if (socket && flow) {
        worker_.start(std::move(flow), std::move(*socket), end);
    } else if (socket) {
        worker_.open_deferred(std::move(*socket), datapath::endpoint(datapath::packet_source(client.tuple)));
    } else if (flow) {
        worker_.finish(std::move(flow),
                       socket.error() == ECONNRESET ? FLOW_END_client_gone : FLOW_END_descriptor_limit);
    }
}

}  // namespace sluice::agent
