#include "userspace/datapath/deferred_ring.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/packet_headers.h"

namespace sluice::datapath {

void DeferredRing::Free::operator()(ring_buffer* ring) const {
    ring_buffer__free(ring);
}

DeferredRing::DeferredRing(const PacketSplice& splice, unsigned number, OnClient on_client)
    : on_client_(std::make_unique<OnClient>(std::move(on_client))),
      map_(bpf_map_create(BPF_MAP_TYPE_RINGBUF, "deferred", 0, 0, DEFERRED_RING_BYTES, nullptr)) {
    const auto read_one = [](void* context, void* data, std::size_t) {
        (*static_cast<const OnClient*>(context))(*static_cast<const deferred_client*>(data));
        return 0;
    };
    const int map = map_.get();
    if (map_) ring_.reset(ring_buffer__new(map, read_one, on_client_.get(), nullptr));
    if (!ring_ || bpf_map_update_elem(splice.map_fd("deferred_rings"), &number, &map, BPF_ANY) != 0)
        throw StateError(std::string("deferred_rings: ") + std::strerror(errno));
}

int DeferredRing::events_fd() const {
    return ring_buffer__epoll_fd(ring_.get());
}

void DeferredRing::read() {
    ring_buffer__consume(ring_.get());
}

std::span<const char> first_bytes(const deferred_client& client) {
    const std::span bytes(reinterpret_cast<const char*>(client.data), client.bytes);
    if (client.is_partial != 0) return bytes;
    const std::uint32_t sum = client.sum + packet_sum(bytes.data(), bytes.size());
    return (sum & 0xffff) + (sum >> 16) == 0xffff ? bytes : std::span<const char>();
}

}  // namespace sluice::datapath
