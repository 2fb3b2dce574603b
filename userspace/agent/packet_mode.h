#pragma once
// Splice mode `packet`: hands a flow over to the kernel programs that forward its packets, and closes both of
// its sockets without a word. From then on the agent has nothing of it. Used by all workers at once.
#include <expected>
#include <memory>
#include <optional>
#include <span>

#include "userspace/agent/flow.h"
#include "userspace/agent/socket.h"
#include "userspace/datapath/near_servers.h"
#include "userspace/datapath/packet_dial.h"
#include "userspace/datapath/packet_hold.h"
#include "userspace/datapath/packet_injector.h"
#include "userspace/datapath/packet_splice.h"

namespace sluice::agent {

class PacketMode {
  public:
    // Throws StateError where the kernel cannot do it.
    PacketMode(const std::string& state_directory, const datapath::PacketSpliceOptions& options);

    // From now on what these ports' listeners accept can be taken.
    void hold_listeners(const datapath::PacketHold::Listeners& listeners) {
        hold_.hold_listeners(listeners, dials_.socket_cookies());
    }

    // Before an upstream socket of the flow connects that has not the client's own address and port, or
    // another destination.
    void announce(const Flow& flow, int socket);

    // Takes a flow of whose bytes its sockets have carried at most the client's first ones to the server
    // (flow.up.bytes), and none to the client (but the proxy's own). Else the reason; then the flow and its
    // sockets are as they were, and no longer held.
    std::expected<void, splice_reason> take(Flow& flow, Socket& client, Socket& server);

    // Reaches for the server without a socket, with the client's first bytes, which must fit into one
    // segment. Nothing: it cannot be done so, since the server is not near. Else it is to be ended.
    using Dial = datapath::PacketDials::Dial;
    std::optional<Dial> dial(const Flow& flow, const Socket& client);
    std::optional<Dial> dial(const Flow& flow, std::span<const char> first_bytes, const near_server& server);
    void shun_server(const Flow& flow);    // as it speaks first at times
    void forget_server(const Flow& flow);  // until a socket shows that it is there
    bool is_over(const Dial& dial) const { return dials_.is_over(dial); }
    // True: the flow is spliced. False: nothing has happened to it.
    bool end(const Dial& dial) { return dials_.end(dial); }

    // A client whose first bytes were read without a socket gets one, in which they wait.
    struct Unaccepted {
        packet_tuple tuple;
        std::uint32_t isn;
        std::span<const char> first_bytes;
    };
    // The error is errno's: ECONNRESET, it has left; EADDRNOTAVAIL, the kernel has not forgotten its
    // connection request, or not yet; else it was told to go.
    std::expected<datapath::Fd, int> make_socket(const Unaccepted& client);
    // The kernel's TCP has not believed its bytes either, as they were damaged, and waits for them.
    void deliver(const packet_tuple& client) { hold_.deliver(client); }

    // The flow's second hello has been judged, and is refused. False: the flow has ended already.
    bool refuse(const Flow& flow, std::uint32_t slot);
    // Or allowed: passes on these bytes, the first of which has this number, and from here on all that its
    // client sends, but nothing else in their place. `last`: of the client's last packet. False: it cannot be
    // guarded now, and nothing has happened.
    bool pass(const Flow& flow, const packet_hello_head& last, std::uint32_t seq,
              std::span<const char> hello);

    // Ends a flow's hold: the agent will carry it.
    void release(const Flow& flow);

    // The flow is refused without a word.
    void silence(const Flow& flow);

    datapath::PacketSplice& table() { return splice_; }

  private:
    void reset_client(const packet_tuple& client, const held_leg& leg);
    void pass_on(const Socket& from, datapath::InjectedSegment segment, bool finished);

    datapath::PacketSplice splice_;
    datapath::PacketHold hold_;
    datapath::PacketInjector injector_;
    datapath::PacketDials dials_;
    datapath::NearServers servers_;
};

}  // namespace sluice::agent
