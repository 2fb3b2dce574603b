#include "userspace/datapath/greeting_ring.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/packet_headers.h"

namespace sluice::datapath {

void GreetingRing::Free::operator()(ring_buffer* ring) const {
    ring_buffer__free(ring);
}

GreetingRing::GreetingRing(const PacketSplice& splice, unsigned number, OnGreeting on_greeting)
    : on_greeting_(std::make_unique<OnGreeting>(std::move(on_greeting))),
      map_(bpf_map_create(BPF_MAP_TYPE_RINGBUF, "greetings", 0, 0, GREETING_RING_BYTES, nullptr)) {
    const auto read_one = [](void* context, void* data, std::size_t) {
        (*static_cast<const OnGreeting*>(context))(*static_cast<const greeting*>(data));
        return 0;
    };
    const int map = map_.get();
    if (map_) ring_.reset(ring_buffer__new(map, read_one, on_greeting_.get(), nullptr));
    if (!ring_ || bpf_map_update_elem(splice.map_fd("greeting_rings"), &number, &map, BPF_ANY) != 0)
        throw StateError(std::string("greeting_rings: ") + std::strerror(errno));
}

int GreetingRing::events_fd() const {
    return ring_buffer__epoll_fd(ring_.get());
}

void GreetingRing::read() {
    ring_buffer__consume(ring_.get());
}

std::span<const char> first_bytes(const greeting& greeting) {
    const std::span bytes(reinterpret_cast<const char*>(greeting.data), greeting.bytes);
    if (greeting.is_partial != 0) return bytes;
    const std::uint32_t sum = greeting.sum + packet_sum(bytes.data(), bytes.size());
    return (sum & 0xffff) + (sum >> 16) == 0xffff ? bytes : std::span<const char>();
}

}  // namespace sluice::datapath
