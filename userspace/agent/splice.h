#pragma once
// Who carries a worker's spliced flows, and the one place where that is chosen (take()). The modes are asked
// best first. One that refuses a flow says why, and has then touched neither the flow nor its sockets; the
// relay refuses nothing. Whoever took a flow ends, counts and lists it, and hands it to `finish`.
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "userspace/agent/config.h"
#include "userspace/agent/flow.h"
#include "userspace/agent/packet_mode.h"
#include "userspace/agent/relay.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

class Splice {
  public:
    using Finish = Relay::Finish;
    using Publish = Relay::Publish;

    // `packet`: null where that mode cannot be used; `sockmap_flows_max`: 0 where that one cannot.
    Splice(asio::io_context& io, const Config& config, PacketMode* packet, std::uint32_t sockmap_flows_max,
           Finish finish);

    // Whether the packet splice is to be asked first; then the flow's reason says so.
    bool wants_packets(Flow& flow) const;
    // Asks it; it wants a flow as early as possible. False: nothing has happened to the sockets. Else both
    // are closed, and the flow's mode says so.
    bool take_as_packets(Flow& flow, Socket& client, Socket& server);

    // Takes a flow and its two connected sockets, from which nothing has been read.
    void take(std::unique_ptr<Flow> flow, SocketPtr client, SocketPtr server);

    void for_each_flow(const std::function<void(Flow&)>& visit) { relay_.for_each_flow(visit); }
    bool end(std::uint64_t flow_id, flow_end why);  // false: no such flow here
    void end_all(flow_end why);
    void stop();  // after end_all: waits for nothing any more

    // Now and then: times flows out, and hands those that moved bytes to `publish`.
    void sweep(const Publish& publish);

  private:
    bool asks(splice_mode mode) const;
    splice_reason reason_of_choice() const;

    const SpliceChoice choice_;
    PacketMode* const packet_;
    Relay relay_;
};

}  // namespace sluice::agent
