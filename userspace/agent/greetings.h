#pragma once
// A worker's clients whose first bytes are read without a socket (bpf/packet_greeting.h): those that are allowed are
// dialled without one, too, and spliced. All others get a socket, and are then as if they had been accepted.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>
#include <span>
#include <string>

#include "bpf/hold_abi.h"
#include "userspace/agent/packet_mode.h"
#include "userspace/datapath/greeting_ring.h"

namespace sluice::agent {

class Worker;

class Greetings {
  public:
    // REQUIRES worker.packet(). Throws StateError.
    Greetings(Worker& worker, unsigned number);

    // On the worker's thread: whoever has spoken by now still gets a socket.
    void stop();

  private:
    void wait();
    void take(const greeting& greeting);
    asio::awaitable<void> wait_for_server(std::unique_ptr<Flow> flow, PacketMode::Dial dial, std::string first_bytes);
    // `flow`: null, or judged already; `end`: why it must go.
    void open_socket(const packet_tuple& client, std::span<const char> first_bytes, std::unique_ptr<Flow> flow,
                     flow_end end = FLOW_END_live);

    Worker& worker_;
    PacketMode& packet_;
    datapath::GreetingRing ring_;
    asio::posix::stream_descriptor events_;
};

}  // namespace sluice::agent
