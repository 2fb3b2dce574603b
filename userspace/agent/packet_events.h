#pragma once
// What the packet splice has to tell the agent: flows that have ended, second hellos that are to be judged,
// interfaces that came or went.
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>

#include "userspace/agent/second_hello.h"
#include "userspace/agent/worker.h"
#include "userspace/datapath/neighbours.h"

namespace sluice::agent {

// On the agent's own thread; all that it is made of must outlive it.
class PacketEvents {
  public:
    // Who else ends such flows: how one has ended whose end was read as `end`.
    using WhyEnded = std::function<flow_end(std::uint64_t flow_id, flow_end end)>;

    // REQUIRES shared.packet. Listens from here on.
    PacketEvents(asio::io_context& io, Shared& shared, WhyEnded why_ended);

    const Totals& totals() const { return totals_; }  // of flows that have ended in the packet splice

  private:
    void read();
    void read_when_urgent();
    void read_regularly();
    void on_end(const packet_flow_end& end);
    flow_end judge_second_hello(Flow& flow, flow_end trouble);
    void watch_interfaces();

    Shared& shared_;
    datapath::PacketSplice& table_;
    const WhyEnded why_ended_;
    SecondHellos second_hellos_;
    datapath::Neighbours neighbours_;
    Totals totals_;
    asio::posix::stream_descriptor events_;
    asio::posix::stream_descriptor interface_changes_;
    asio::steady_timer timer_;
};

}  // namespace sluice::agent
