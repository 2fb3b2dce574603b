#pragma once
// One worker's share of the clients' first bytes that are read without a socket (bpf/packet_deferred.h).
#include <functional>
#include <memory>
#include <span>

#include "bpf/hold_abi.h"
#include "userspace/datapath/fd.h"
#include "userspace/datapath/packet_splice.h"

struct ring_buffer;

namespace sluice::datapath {

class DeferredRing {
  public:
    using OnClient = std::function<void(const deferred_client&)>;

    // In place of what had this number before. Throws StateError.
    DeferredRing(const PacketSplice& splice, unsigned number, OnClient on_client);

    int events_fd() const;  // readable when there are any
    void read();

  private:
    struct Free {
        void operator()(ring_buffer* ring) const;
    };
    std::unique_ptr<OnClient> on_client_;  // where the ring can keep it
    Fd map_;
    std::unique_ptr<ring_buffer, Free> ring_;
};

// What a client said; nothing when it was damaged on the way: then the kernel's TCP has not believed it
// either.
std::span<const char> first_bytes(const deferred_client& client);

}  // namespace sluice::datapath
