#include "userspace/datapath/packet_guards.h"

#include <atomic>
#include <cstring>
#include <utility>

#include "userspace/datapath/packet_headers.h"

namespace sluice::datapath {
namespace {

// A server that has said nothing to a client's first bytes for so long will not any more.
constexpr std::uint64_t guard_max_ns = 60'000'000'000;

std::atomic_ref<__u32> state_of(packet_guard& guard) {
    return std::atomic_ref(guard.state);
}

}  // namespace

PacketGuards::PacketGuards(MappedArray<packet_guard> guards, const packet_flow* flows)
    : guards_(std::move(guards)), flows_(flows), waited_for_(PACKET_GUARDS_MAX) {
    for (std::uint32_t slot = 0; slot < PACKET_GUARDS_MAX; ++slot)
        give_up(slot);
}

bool PacketGuards::is_free(std::uint32_t slot, std::uint64_t now_ns) {
    packet_guard& guard = of(slot);
    if (waited_for_[slot % PACKET_GUARDS_MAX] != 0) return false;
    const __u32 state = state_of(guard).load(std::memory_order_acquire);
    if (state == PACKET_GUARD_free || state == PACKET_GUARD_over) return true;
    if (state != PACKET_GUARD_on) return false;
    const packet_flow& flow = flows_[guard.slot];
    return flow.id != guard.flow || flow.state == PACKET_SLOT_free || now_ns - guard.on_ns > guard_max_ns;
}

packet_guard& PacketGuards::begin(std::uint32_t slot, std::uint64_t flow, std::span<const char> bytes,
                                  std::uint64_t now_ns) {
    packet_guard& guard = of(slot);
    // In this order: a program that is in the midst of using it looks at `flow` last.
    state_of(guard).store(PACKET_GUARD_free);
    std::atomic_ref(guard.flow).store(0);
    guard.on_ns = now_ns;
    guard.slot = slot;
    guard.bytes = static_cast<__u16>(bytes.size());
    guard.sum = packet_sum(bytes.data(), bytes.size());
    std::memcpy(guard.data, bytes.data(), bytes.size());
    std::atomic_ref(guard.flow).store(flow);
    return guard;
}

packet_guard_state PacketGuards::state(std::uint32_t slot) const {
    return static_cast<packet_guard_state>(state_of(of(slot)).load(std::memory_order_acquire));
}

bool PacketGuards::stop_waiting(std::uint32_t slot) {
    const bool is_spliced = give_up(slot);
    waited_for_[slot % PACKET_GUARDS_MAX] = 0;
    return is_spliced;
}

// A dial that is not answered yet will not be.
bool PacketGuards::give_up(std::uint32_t slot) {
    const auto state = state_of(of(slot));
    __u32 seen = state.load();
    bool is_spliced = false;
    do {
        // `answered` lasts as long as a packet is being made.
        while (seen == PACKET_GUARD_answered)
            seen = state.load();
        is_spliced = seen == PACKET_GUARD_on || seen == PACKET_GUARD_over;
    } while (!is_spliced && !state.compare_exchange_weak(seen, PACKET_GUARD_free));
    return is_spliced;
}

}  // namespace sluice::datapath
