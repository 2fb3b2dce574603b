#pragma once
// The user-space half of bpf/packet_dial.h: sends the SYNs of upstream legs that have no socket, and their
// RSTs. Thread-safe.
#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "bpf/hold_abi.h"
#include "userspace/datapath/fd.h"
#include "userspace/datapath/packet_splice.h"

namespace sluice::datapath {

class PacketDials {
  public:
    // Of the calling thread's network namespace; throws StateError. `splice` must outlive it.
    explicit PacketDials(PacketSplice& splice);

    std::array<std::uint64_t, 2> socket_cookies() const { return cookies_; }  // for the hold

    struct Dial {
        std::uint32_t slot;
        std::uint32_t isn;
        packet_tuple client;
    };

    // Reaches for the server in the name of the client whose packets have this tuple. `leg`: `clock` and
    // `mss` as of an earlier leg between the two (PacketHandover), and no `isn` yet. It is to be ended;
    // nothing: not now.
    std::optional<Dial> start(const PacketFlow& flow, const packet_tuple& client,
                              std::span<const char> first_bytes, PacketDialLeg leg);
    bool is_over(const Dial& dial) const;
    // True: the flow is spliced. False: it is not, and the server has been told to forget it.
    bool end(const Dial& dial);

  private:
    std::uint32_t initial_sequence(const packet_tuple& client) const;
    bool send(const packet_tuple& client, std::uint32_t seq, std::uint32_t slot, bool is_syn);

    PacketSplice& splice_;
    std::array<Fd, 2> sockets_;  // IPv4, IPv6
    std::array<std::uint64_t, 2> cookies_{};
    std::array<std::uint64_t, 2> secret_{};
};

}  // namespace sluice::datapath
