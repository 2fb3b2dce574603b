#pragma once
// The kernel's CLOCK_MONOTONIC, by which everything in its maps is timed.
#include <chrono>
#include <cstdint>

namespace sluice::datapath {

inline std::uint64_t monotonic_ns() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

}  // namespace sluice::datapath
