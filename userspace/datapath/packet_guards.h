#pragma once
// The user-space half of bpf/packet_guard.h: what of a client's bytes was judged, kept for the kernel
// programs in memory that they share. Not thread-safe but for state().
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "bpf/packet_abi.h"
#include "userspace/datapath/mapped_array.h"

namespace sluice::datapath {

class PacketGuards {
  public:
    // `flows`: the table, so that the guards of flows that are over can be told. Dials that an earlier agent
    // left are void from here on; its guards are not.
    PacketGuards(MappedArray<packet_guard> guards, const packet_flow* flows);

    // Whether a flow in this slot could have a guard now.
    bool is_free(std::uint32_t slot, std::uint64_t now_ns);

    // The guard of a slot for which is_free(); the caller fills in what is not said here, and at last the
    // state. At most PACKET_GUARD_BYTES_MAX bytes.
    packet_guard& begin(std::uint32_t slot, std::uint64_t flow, std::span<const char> bytes,
                        std::uint64_t now_ns);

    // Of a dial, by its flow's slot; it stays this slot's until the agent waits for it no longer.
    void wait_for(std::uint32_t slot) { waited_for_[slot % PACKET_GUARDS_MAX] = 1; }
    packet_guard_state state(std::uint32_t slot) const;
    // True: the flow is spliced.
    bool stop_waiting(std::uint32_t slot);

  private:
    bool give_up(std::uint32_t slot);
    packet_guard& of(std::uint32_t slot) const { return guards_[slot % PACKET_GUARDS_MAX]; }

    MappedArray<packet_guard> guards_;
    const packet_flow* flows_;
    std::vector<char> waited_for_;
};

}  // namespace sluice::datapath
