#pragma once
// A worker's flows that reach for their server without a socket (bpf/packet_dial.h). The kernel wakes nobody
// when one is spliced: a look now and then at shared memory, while there are any, costs less than an event
// for each.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <optional>
#include <vector>

#include "userspace/agent/flow.h"
#include "userspace/agent/packet_mode.h"

namespace sluice::agent {

class Dialling {
  public:
    // `packet`: null where that mode is not used; then nothing is dialled.
    Dialling(asio::io_context& io, PacketMode* packet);

    // Only pairs of hosts of which the packet splice has taken a flow lately are dialled so: the server is
    // near enough to answer while the client's bytes can be held, and agrees to what the client does.
    void learn(const Flow& flow, const PacketMode::Leg& leg);

    // True: the flow is spliced, and its socket closed. False: nothing has happened to it. The caller has
    // judged the client's first bytes, which wait in its socket.
    asio::awaitable<bool> dial(const Flow& flow, Socket& client);

  private:
    struct Known {
        policy::IpAddress source;
        policy::Endpoint destination;
        Clock::time_point until;
        PacketMode::Leg leg{};
    };
    struct Waiting {
        PacketMode::Dial dial;
        Clock::time_point until;
        std::move_only_function<void()> resume;
    };

    Known& place_of(const Flow& flow);
    asio::awaitable<void> wait_for(const PacketMode::Dial& dial);
    void arm();
    void look();

    PacketMode* const packet_;
    asio::steady_timer timer_;
    bool armed_ = false;
    std::vector<Waiting> waiting_;
    std::vector<Known> known_;  // a newcomer takes the place of whoever has the same hash
};

}  // namespace sluice::agent
