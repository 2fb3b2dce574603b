#pragma once
// The user-space half of bpf/packet_hold.h: takes a pair of held legs out of the hold, and says what their
// two directions are for the packet splice. Thread-safe.
#include <array>
#include <cstdint>
#include <expected>
#include <optional>
#include <vector>

#include "bpf/hold_abi.h"
#include "userspace/datapath/packet_injector.h"
#include "userspace/datapath/packet_splice.h"

namespace sluice::datapath {

// Two legs as one flow.
struct PacketHandover {
    PacketDirection up;
    PacketDirection down;
    // What a segment must look like that carries the peers' first bytes, for the injector.
    InjectedSegment up_segment;
    InjectedSegment down_segment;
    // What waits in their sockets: bytes or a FIN, and whether a FIN.
    bool client_has_more = false;
    bool server_has_more = false;
    bool client_finished = false;
    bool server_finished = false;
    // Of the server's leg, for dials between the same two hosts.
    std::uint32_t clock = 0;  // the local socket's TSval when CLOCK_MONOTONIC was 0, in milliseconds
    std::uint16_t mss = 0;    // announced to the server
};

class PacketHold {
  public:
    explicit PacketHold(const PacketSplice& splice);

    // From now on connections that the listener on this port accepts are held, and those of the proxy's
    // followed. 0: none any more. What `dial_sockets` (their cookies) send are dials (packet_dial.h).
    struct Listeners {
        std::uint16_t port = 0;
        std::array<std::uint16_t, 2> proxy_ports = {};
        std::uint32_t deferred_rings = 0;  // 0: each client gets a socket
    };
    void hold_listeners(const Listeners& listeners, const std::array<std::uint64_t, 2>& dial_sockets = {});
    // Nothing is held any more: an agent that does not splice packets follows one that was killed.
    static void stop(const std::string& state_directory);

    // `downstream`: of the client's packets; `upstream`: of the server's, as the gateway's socket has it.
    // From here on nothing that these sockets send leaves. The error says why the flow does not qualify; its
    // hold is over then.
    struct Carried {
        std::uint32_t sent = 0;      // from client to server already
        std::uint32_t asked = 0;     // by a client of the proxy, of the gateway
        std::uint32_t answered = 0;  // to it
    };
    std::expected<PacketHandover, splice_reason> take(const packet_tuple& downstream,
                                                      const packet_tuple& upstream, const Carried& carried);
    // Before an upstream socket connects that has not the client's own address and port, or another
    // destination than the client dialled.
    void announce(int socket, const packet_tuple& downstream);
    // The flow is not to be spliced, or not yet: its sockets answer for what they receive. Injected, what
    // comes back makes the client's one acknowledge at once what it could not so far: it looks like a
    // keepalive of the client's.
    std::optional<InjectedSegment> release(const packet_tuple& downstream, const packet_tuple& upstream);

    // A client's leg, as it is now. Nothing: it has been forgotten.
    std::optional<held_leg> client_leg(const packet_tuple& downstream) const;
    // Those whose first bytes an agent has been handed, and which have no socket yet, nor a spliced flow.
    std::vector<packet_tuple> unread_clients() const;
    // From now on what this client sends reaches the kernel's TCP again.
    void deliver(const packet_tuple& downstream);
    // The client hears nothing more, whatever it sends: as long as its leg is remembered, or until another
    // SYN.
    void silence(const packet_tuple& downstream);

  private:
    bool run(take_legs& request);

    int take_legs_program_;
    int control_map_;
    int legs_map_;
    int dials_map_;
};

// What translates the packets of one leg into the other's, and back. Pure. With a client of the proxy, both
// streams of its leg begin behind what it had to say to the gateway: as if it had connected at that moment.
PacketHandover translate_legs(take_legs legs);

}  // namespace sluice::datapath
