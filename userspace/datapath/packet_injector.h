#pragma once
// Sends TCP segments in the name of a peer of a spliced flow, as if they had arrived from it: they enter by
// the loopback interface, where the packet splice's program meets them as on any other, translates and
// forwards them. So they need no neighbour, meet no firewall rule, and are counted. Thread-safe.
#include <cstdint>
#include <span>

#include "bpf/packet_abi.h"
#include "userspace/datapath/fd.h"

namespace sluice::datapath {

// As the peer itself would send it, in host order.
struct InjectedSegment {
    packet_tuple tuple{};
    std::uint32_t seq = 0;
    std::uint32_t ack = 0;
    std::uint16_t window = 0;
    bool timestamps = false;
    bool fin = false;
    std::uint32_t tsval = 0;
    std::uint32_t tsecr = 0;
    std::uint16_t segment_bytes = 536;  // payload of one segment; more is cut up by the kernel
};

class PacketInjector {
  public:
    // Of the calling thread's network namespace; throws StateError.
    PacketInjector();

    // At most 60,000 bytes at once. False: not sent; the peer's own retransmission will have to do.
    bool inject(const InjectedSegment& segment, std::span<const char> payload);

    static constexpr std::size_t payload_bytes_max = 60'000;

  private:
    Fd socket_;
};

}  // namespace sluice::datapath
