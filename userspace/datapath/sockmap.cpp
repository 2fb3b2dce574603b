#include "userspace/datapath/sockmap.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sockmap.skel.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/tcp.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <vector>

namespace sluice::datapath {
namespace {

struct SkeletonDeleter {
    void operator()(sockmap* skeleton) const { sockmap__destroy(skeleton); }
};

[[noreturn]] void fail(const std::string& what, int error) {
    throw SockmapError("sockmap: " + what + ": " + std::strerror(error));
}

// Pairs that are not used again at once.
constexpr std::uint32_t pairs_resting = 64;

// Makes the kernel look at what the socket has received before.
void kick(int socket) {
    const int bytes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

// To what a lent socket has at least. Not where somebody has fixed it; and the kernel may still widen it.
void widen_send_buffer(int socket) {
    int bytes = 0;
    int locks = 0;
    socklen_t size = sizeof bytes;
    if (::getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, &size) != 0) return;
    if (::getsockopt(socket, SOL_SOCKET, SO_BUF_LOCK, &locks, &size) != 0) return;
    if (bytes >= SOCKMAP_SEND_BUFFER_BYTES || (locks & SOCK_SNDBUF_LOCK) != 0) return;
    bytes = SOCKMAP_SEND_BUFFER_BYTES / 2;  // the kernel doubles it
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
    ::setsockopt(socket, SOL_SOCKET, SO_BUF_LOCK, &locks, sizeof locks);
}

std::optional<__u64> cookie_of(int socket) {
    __u64 cookie = 0;
    socklen_t size = sizeof cookie;
    if (::getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0) return std::nullopt;
    return cookie;
}

bool info_of(int socket, tcp_info& info) {
    socklen_t size = sizeof info;
    return ::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) == 0;
}

}  // namespace

struct Sockmap::Handles {
    std::unique_ptr<sockmap, SkeletonDeleter> skeleton;
    std::unique_ptr<ring_buffer, void (*)(ring_buffer*)> ring{nullptr, ring_buffer__free};
    std::function<void(Pair)> tell;
    sockmap_leg* legs = nullptr;
    std::size_t legs_bytes = 0;
    std::deque<Pair> free_pairs;  // the longest free first: a program may still run for a socket just removed
    std::vector<std::array<__u64, 2>> cookies;  // by pair
    int slots = -1;
    int peers = -1;
    int sources = -1;

    ~Handles() {
        if (legs) ::munmap(legs, legs_bytes);
    }

    void forget(Pair pair, unsigned sides) {
        for (__u32 side = 0; side < sides; ++side) {
            const __u32 slot = 2 * pair + side;
            bpf_map_delete_elem(sources, &slot);
            bpf_map_delete_elem(peers, &slot);
            bpf_map_delete_elem(slots, &cookies[pair][side]);
        }
    }
};

Sockmap::Sockmap(std::uint32_t pairs_max) : handles_(std::make_unique<Handles>()) {
    pairs_max += pairs_resting;
    Handles& handles = *handles_;
    handles.skeleton.reset(sockmap__open());
    if (!handles.skeleton) fail("opening the object", errno);
    const auto& maps = handles.skeleton->maps;
    for (bpf_map* map : {maps.slots, maps.legs, maps.peers, maps.sources})
        bpf_map__set_max_entries(map, 2 * pairs_max);
    if (const int error = sockmap__load(handles.skeleton.get()); error != 0)
        fail("loading the program", -error);
    handles.slots = bpf_map__fd(maps.slots);
    handles.peers = bpf_map__fd(maps.peers);
    handles.sources = bpf_map__fd(maps.sources);
    // The skeleton's attach() ignores programs of this type.
    const int program = bpf_program__fd(handles.skeleton->progs.carry);
    if (bpf_prog_attach(program, handles.sources, BPF_SK_SKB_STREAM_VERDICT, 0) != 0)
        fail("attaching the program", errno);

    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    handles.legs_bytes = (2 * pairs_max * sizeof(sockmap_leg) + page - 1) / page * page;
    void* memory =
        ::mmap(nullptr, handles.legs_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(maps.legs), 0);
    if (memory == MAP_FAILED) fail("mapping the legs", errno);
    handles.legs = static_cast<sockmap_leg*>(memory);

    const auto on_event = [](void* context, void* data, std::size_t bytes) {
        if (bytes < sizeof(__u32)) return 0;
        __u32 slot = 0;
        std::memcpy(&slot, data, sizeof slot);
        static_cast<Handles*>(context)->tell(slot / 2);
        return 0;
    };
    handles.ring.reset(ring_buffer__new(bpf_map__fd(maps.events), on_event, &handles, nullptr));
    if (!handles.ring) fail("reading events", errno);
    handles.cookies.resize(pairs_max);
    for (Pair pair = pairs_max; pair > 0; --pair)
        handles.free_pairs.push_back(pair - 1);
}

Sockmap::~Sockmap() = default;

std::optional<Sockmap::Inserted> Sockmap::insert(int client_socket, int server_socket) {
    Handles& handles = *handles_;
    if (handles.free_pairs.size() <= pairs_resting) return std::nullopt;
    const Pair pair = handles.free_pairs.front();
    const std::array<int, 2> sockets{client_socket, server_socket};
    const int hold_back = bpf_program__fd(handles.skeleton->progs.hold_back);
    for (const int socket : sockets) {
        widen_send_buffer(socket);
        if (::setsockopt(socket, SOL_SOCKET, SO_ATTACH_BPF, &hold_back, sizeof hold_back) != 0)
            return std::nullopt;
    }
    // Everything that the program looks for is there before it first runs: slots, targets, and only then
    // sources.
    for (__u32 side = 0; side < 2; ++side) {
        const __u32 slot = 2 * pair + side;
        const auto cookie = cookie_of(sockets[side]);
        handles.legs[slot] = sockmap_leg{};
        handles.legs[slot].peer = 2 * pair + (1 - side);
        const __u64 socket = static_cast<__u64>(sockets[side]);
        if (cookie) handles.cookies[pair][side] = *cookie;
        if (!cookie || bpf_map_update_elem(handles.slots, &*cookie, &slot, BPF_ANY) != 0 ||
            bpf_map_update_elem(handles.peers, &slot, &socket, BPF_ANY) != 0) {
            handles.forget(pair, side + 1);
            return std::nullopt;
        }
    }
    bool plain = false;
    for (__u32 side = 0; side < 2; ++side) {
        const __u32 slot = 2 * pair + side;
        const __u64 socket = static_cast<__u64>(sockets[side]);
        if (bpf_map_update_elem(handles.sources, &slot, &socket, BPF_ANY) == 0) continue;
        if (side == 0) {
            handles.forget(pair, 2);
            return std::nullopt;
        }
        plain = true;  // the first may have carried bytes already: the pair stands
    }
    handles.free_pairs.pop_front();
    for (const int socket : sockets)
        kick(socket);
    return Inserted{.pair = pair, .plain = plain};
}

const volatile sockmap_leg& Sockmap::leg(Pair pair, Side side) const {
    return handles_->legs[2 * pair + side];
}

void Sockmap::consume(Pair pair, Side side, std::uint64_t bytes) {
    std::atomic_ref(handles_->legs[2 * pair + side].consumed).store(bytes, std::memory_order_release);
}

void Sockmap::listen(Pair pair, Side side) {
    // With a full barrier: the program adds to `passed`, then looks at `told`.
    std::atomic_ref(handles_->legs[2 * pair + side].told).exchange(0);
}

void Sockmap::remove(Pair pair) {
    handles_->forget(pair, 2);
    handles_->free_pairs.push_back(pair);
}

std::uint32_t Sockmap::pairs() const {
    return static_cast<std::uint32_t>(handles_->cookies.size());
}

int Sockmap::events_fd() const {
    return ring_buffer__epoll_fd(handles_->ring.get());
}

void Sockmap::read_events(const std::function<void(Pair)>& tell) {
    handles_->tell = tell;
    ring_buffer__consume(handles_->ring.get());
}

// write_seq - ISN, as the sum of what was acknowledged and what was not. An ACK between the two system calls
// would make it too small, so the first is repeated: both must speak of one moment.
std::optional<std::uint64_t> bytes_written(int socket) {
    constexpr int tries = 8;
    for (int i = 0; i < tries; ++i) {
        tcp_info before{};
        tcp_info after{};
        int queued = 0;
        if (!info_of(socket, before) || ::ioctl(socket, SIOCOUTQ, &queued) != 0 || !info_of(socket, after))
            return std::nullopt;
        if (before.tcpi_bytes_acked == after.tcpi_bytes_acked)
            return before.tcpi_bytes_acked + static_cast<std::uint64_t>(queued);
    }
    return std::nullopt;
}

}  // namespace sluice::datapath
