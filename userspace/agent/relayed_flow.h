#pragma once
// For the relay's own files: one flow in its hands.
#include <array>
#include <memory>
#include <utility>

#include "userspace/agent/relay.h"

namespace sluice::agent {

struct Relay::RelayedFlow final : Subscriber {
    RelayedFlow(Relay& owner, std::unique_ptr<Flow> what, SocketPtr client_side, SocketPtr server_side)
        : relay(owner),
          flow(std::move(what)),
          client(std::move(client_side)),
          server(std::move(server_side)),
          up(flow->up.bytes),
          down(flow->down.bytes) {}

    void on_ready(Socket&) override {
        if (!yielded) relay.pump(*this);
    }

    Relay& relay;
    std::unique_ptr<Flow> flow;
    SocketPtr client;
    SocketPtr server;
    RelayDirection up;
    RelayDirection down;
    bool yielded = false;
    bool moved = true;  // bytes, since it was published
    Clock::time_point published;

    Lending lending = Lending::never;
    unsigned turns = 0;  // of one side after the other, none of them long
    Way turn_of = Way::down;
    std::uint64_t turn_bytes = 0;          // of the present one
    std::unique_ptr<SockmapFlow> sockmap;  // from the moment it is lent
    std::array<std::uint64_t, 2> not_relayed =
        {};  // of each direction's bytes: before that moment, or carried
    splice_reason reason_of_choice = SPLICE_REASON_automatic;
    bool awake = false;  // hears of its sockets' bytes, not only of their ends
    bool waits = false;  // for bytes on their way inside the kernel
    bool listed_waiting = false;
    unsigned looks = 0;  // in vain, of those that it may have at once
};

}  // namespace sluice::agent
