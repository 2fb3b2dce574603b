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
    // `packet`: null where that mode is not used; then there are no dials.
    Dialling(asio::io_context& io, PacketMode* packet);

    // Until the flow is spliced, or cannot be any more. True: it is. False: nothing has happened to it, and
    // the kernel has forgotten its server: a socket must show that it is there.
    asio::awaitable<bool> outcome(const Flow& flow, PacketMode::Dial dial);
    // At once, if it is known already: most servers that are near have answered while their SYN was being
    // sent.
    std::optional<bool> outcome_so_far(const Flow& flow, const PacketMode::Dial& dial);

  private:
    struct Waiting {
        PacketMode::Dial dial;
        Clock::time_point until;
        std::move_only_function<void()> resume;
    };

    bool end(const Flow& flow, const PacketMode::Dial& dial);
    asio::awaitable<void> wait_for(const PacketMode::Dial& dial);
    void arm();
    void look();

    PacketMode* const packet_;
    asio::steady_timer timer_;
    bool armed_ = false;
    std::vector<Waiting> waiting_;
};

}  // namespace sluice::agent
