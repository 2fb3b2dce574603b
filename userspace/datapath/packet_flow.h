#pragma once
// What the agent hands over to the packet splice, and why that may not take it.
#include <cstdint>
#include <string_view>

#include "bpf/flow_abi.h"
#include "bpf/packet_abi.h"
#include "policy/protocol.h"

namespace sluice::datapath {

// A flow as it is known at the handover; what `sluice flows` shows of it.
struct PacketFlow {
    std::uint64_t id = 0;
    std::uint64_t accepted_ns = 0;
    std::string_view server_name = {};
    std::string_view rule = {};
    std::string_view facts = {};  // as in flow_record; empty: not known
    std::uint8_t protocol = static_cast<std::uint8_t>(policy::Protocol::unknown);
    std::uint8_t reason = SPLICE_REASON_undecided;
    bool is_logged = true;
};

// One direction. Of `route` the caller fills in what translates (from seq_delta to scale_to), the watch in
// `flags`, `leaves`, and where the counting starts: ack_start, ack (the last one seen from the sender; at
// least ack_start, and above it by the payload that it covers) and seq_next.
struct PacketDirection {
    packet_tuple arrives{};
    packet_route route{};
};

// The leg to a server that is reached without a socket (packet_dial.h).
struct PacketDialLeg {
    std::uint32_t isn = 0;
    std::uint32_t clock = 0;  // its TSval when CLOCK_MONOTONIC was 0, in milliseconds
    std::uint16_t mss = 0;    // to announce at most
    bool is_watched = false;  // the first bytes are a ClientHello: a second one is the agent's to judge
};

// A flow whose client has said something that must be judged before the server may hear it.
struct PacketWaiting {
    flow_record flow{};
    std::uint32_t seq = 0;  // of the first such byte, as the client counts
};

enum class PacketRefusal : std::uint8_t {
    table_full,
    tuple_in_use,  // another flow of the table has one of the two tuples
    interface,     // one of the two is of a kind that the programs are not attached to
    failed,        // the kernel refused for another reason
};

}  // namespace sluice::datapath
