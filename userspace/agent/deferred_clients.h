#pragma once
// A worker's clients whose first bytes are read without a socket (bpf/packet_deferred.h): those that are
// allowed are dialled without one, too, and spliced. All others get a socket, and are then as if they had
// been accepted.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <expected>
#include <memory>
#include <string>

#include "bpf/hold_abi.h"
#include "userspace/agent/packet_mode.h"
#include "userspace/datapath/deferred_ring.h"

namespace sluice::agent {

class Worker;

class DeferredClients {
  public:
    // REQUIRES worker.packet(). Throws StateError.
    DeferredClients(Worker& worker, unsigned number);

    // On the worker's thread: whoever has spoken by now still gets a socket.
    void stop();

  private:
    void wait();
    void take(const deferred_client& client);
    asio::awaitable<void> wait_for_server(std::unique_ptr<Flow> flow, PacketMode::Dial dial,
                                          std::uint32_t isn, std::string first_bytes);
    // `flow`: null, or judged already; `end`: why it must go.
    void open_socket(const PacketMode::Unaccepted& client, std::unique_ptr<Flow> flow,
                     flow_end end = FLOW_END_live);
    asio::awaitable<void> open_socket_later(packet_tuple tuple, std::uint32_t isn, std::string first_bytes,
                                            std::unique_ptr<Flow> flow, flow_end end);
    // `socket`: or what PacketMode::make_socket() says.
    void use_socket(const packet_tuple& tuple, std::expected<datapath::Fd, int> socket,
                    std::unique_ptr<Flow> flow, flow_end end);

    Worker& worker_;
    PacketMode& packet_;
    datapath::DeferredRing ring_;
    asio::posix::stream_descriptor events_;
};

}  // namespace sluice::agent
