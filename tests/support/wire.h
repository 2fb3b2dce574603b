#pragma once
// An Ethernet link between two namespaces that a thread of the test carries, frame by frame, so that it can
// do to them what bad links do. Its ends are TAP devices, which leave a kernel no work to put off: every
// frame has its checksums, and nothing but these tells a damaged one. Needs no module but tun.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include "tests/support/netns.h"
#include "tests/support/wait.h"

namespace sluice::test {

// What happens to TCP frames, in each direction. Others pass at once.
struct WireOptions {
    milliseconds delay{0};
    // Of a thousand frames:
    unsigned lost = 0;
    unsigned doubled = 0;
    unsigned late = 0;     // by up to 5 ms more, so that others overtake it
    unsigned damaged = 0;  // one bit behind the Ethernet header is another: no checksum misses that
};

struct WireEnd {
    const Netns& netns;
    std::string device;
};

class Wire {
  public:
    // Creates both devices, down and without addresses. The namespaces live longer than the wire.
    Wire(const WireEnd& one, const WireEnd& other, const WireOptions& options);
    ~Wire();
    Wire(const Wire&) = delete;
    Wire& operator=(const Wire&) = delete;

    std::uint64_t frames_lost() const { return lost_; }
    std::uint64_t frames_damaged() const { return damaged_; }

  private:
    class Carrier;
    void carry(const std::stop_token& stop);

    const WireOptions options_;
    int ends_[2];
    std::atomic<std::uint64_t> lost_ = 0;
    std::atomic<std::uint64_t> damaged_ = 0;
    std::jthread thread_;
};

}  // namespace sluice::test
