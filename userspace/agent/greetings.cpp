#include "userspace/agent/greetings.h"

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <cerrno>
#include <utility>

#include "userspace/agent/crash.h"
#include "userspace/agent/worker.h"
#include "userspace/datapath/flow_endpoint.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::agent {

Greetings::Greetings(Worker& worker, unsigned number)
    : worker_(worker),
      packet_(*worker.packet()),
      ring_(packet_.table(), number, [this](const greeting& greeting) { take(greeting); }),
      events_(worker.io(), ::dup(ring_.events_fd())) {
    wait();
}

void Greetings::stop() {
    events_.close();
    ring_.read();
}

void Greetings::wait() {
    events_.async_wait(asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
        if (error) return;
        ring_.read();
        wait();
    });
}

void Greetings::take(const greeting& greeting) {
    const auto bytes = datapath::first_bytes(greeting);
    if (bytes.empty()) return packet_.deliver(greeting.client);
    auto flow = worker_.admit(datapath::endpoint(datapath::packet_source(greeting.client)),
                              datapath::endpoint(datapath::packet_destination(greeting.client)),
                              {greeting.data, greeting.bytes});
    if (!flow) return open_socket(greeting.client, bytes, nullptr);
    const auto dial = packet_.dial(*flow, bytes, greeting.server);
    if (!dial) return open_socket(greeting.client, bytes, std::move(flow));
    const auto outcome = worker_.dialling().outcome_so_far(*flow, *dial);
    if (!outcome)
        asio::co_spawn(worker_.io(), wait_for_server(std::move(flow), *dial, std::string(bytes.begin(), bytes.end())),
                       crash_on_exception);
    else if (*outcome)
        worker_.forget(*flow);
    else
        open_socket(greeting.client, bytes, std::move(flow));
}

asio::awaitable<void> Greetings::wait_for_server(std::unique_ptr<Flow> flow, PacketMode::Dial dial,
                                                 std::string first_bytes) {
    flow_end end = FLOW_END_live;
    {
        const Patience patience(worker_.deadlines(), *flow);
        if (co_await worker_.dialling().outcome(*flow, dial)) co_return worker_.leave_to_packets(*flow, patience);
        end = patience.ended_by();
    }
    open_socket(dial.client, first_bytes, std::move(flow), end);
}

void Greetings::open_socket(const packet_tuple& client, std::span<const char> first_bytes,
                            std::unique_ptr<Flow> flow, flow_end end) {
    auto socket = packet_.make_socket(client, first_bytes);
    if (!socket) {
        packet_.reset_client(client);
        const bool has_left = socket.error() == ECONNRESET;
        if (flow) worker_.finish(std::move(flow), has_left ? FLOW_END_client_gone : FLOW_END_descriptor_limit);
    } else if (flow) {
        worker_.start(std::move(flow), std::move(*socket), end);
    } else {
        worker_.open_greeted(std::move(*socket), datapath::endpoint(datapath::packet_source(client)));
    }
}

}  // namespace sluice::agent
