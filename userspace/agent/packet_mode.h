#pragma once
// Splice mode `packet`: hands a flow over to the kernel programs that forward its packets, and closes both of
// its sockets without a word. From then on the agent has nothing of it. Used by all workers at once.
#include <memory>
#include <optional>

#include "userspace/agent/flow.h"
#include "userspace/agent/socket.h"
#include "userspace/datapath/packet_hold.h"
#include "userspace/datapath/packet_injector.h"
#include "userspace/datapath/packet_splice.h"

namespace sluice::agent {

class PacketMode {
  public:
    // Throws StateError where the kernel cannot do it.
    PacketMode(const std::string& state_directory, const datapath::PacketSpliceOptions& options);

    // From now on what this port's listeners accept can be taken.
    void hold_listener(std::uint16_t port) { hold_.hold_listener(port); }

    // Before an upstream socket of the flow connects that has not the client's own address and port.
    void announce(const Flow& flow, int socket);

    // Takes a flow of whose bytes its sockets have carried at most the client's first ones to the server
    // (flow.up.bytes), and none to the client. Else the reason; then the flow and its sockets are as they
    // were, and no longer held.
    std::optional<splice_reason> take(Flow& flow, Socket& client, Socket& server);

    // Ends a flow's hold: the agent will carry it.
    void release(const Flow& flow);

    datapath::PacketSplice& table() { return splice_; }

  private:
    void pass_on(const Socket& from, datapath::InjectedSegment segment, bool finished);

    datapath::PacketSplice splice_;
    datapath::PacketHold hold_;
    datapath::PacketInjector injector_;
};

}  // namespace sluice::agent
