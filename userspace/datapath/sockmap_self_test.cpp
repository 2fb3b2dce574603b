// Tries, on the loopback of this namespace and in some tens of milliseconds, what splice mode `sockmap`
// relies on.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "userspace/datapath/fd.h"
#include "userspace/datapath/sockmap.h"

namespace sluice::datapath {
namespace {

constexpr int patience_ms = 1000;
constexpr int stalled_ms = 100;
constexpr int buffer_bytes = 65536;
// Two small sockets' buffers on either side of a backlog at its limit; without a limit a sender gets any
// further.
constexpr std::size_t accepted_bytes_max = 16u << 20;

struct Failed {
    std::string why;
};

void require(bool holds, const char* what) {
    if (!holds) throw Failed{what};
}

// The first release of each maintained series that sends no byte twice after a partial send, and whose
// backlog does not outlive its socket. A series that is not listed has it from its first release, or never
// got it.
struct Floor {
    unsigned major, minor, patch;
};
constexpr std::array floors{Floor{6, 1, 142}, Floor{6, 6, 94}, Floor{6, 12, 34}, Floor{6, 15, 3}};

void require_version() {
    utsname name{};
    ::uname(&name);
    Floor kernel{};
    require(std::sscanf(name.release, "%u.%u.%u", &kernel.major, &kernel.minor, &kernel.patch) >= 2,
            "unknown kernel version");
    // Debian's release says only 6.1.0-56; its version says "#1 SMP PREEMPT_DYNAMIC Debian 6.1.177-1 (date)".
    if (const char* debian = std::strstr(name.version, "Debian ")) {
        Floor upstream{};
        if (std::sscanf(debian, "Debian %u.%u.%u", &upstream.major, &upstream.minor, &upstream.patch) == 3)
            kernel = upstream;
    }
    if (std::pair(kernel.major, kernel.minor) >= std::pair(6u, 16u)) return;
    for (const Floor& floor : floors) {
        if (floor.major == kernel.major && floor.minor == kernel.minor && kernel.patch >= floor.patch) return;
    }
    throw Failed{"kernel " + std::string(name.release).substr(0, 24) +
                 " loses or doubles bytes; needs 6.16 or 6.12.34"};
}

// `far` is the peer's end, `near` ours.
struct Leg {
    Fd far;
    Fd near;
};

void set(const Fd& fd, int name, int value) {
    ::setsockopt(fd.get(), SOL_SOCKET, name, &value, sizeof value);
}

Leg make_leg() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof address;
    const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    Leg leg;
    leg.far = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    for (const Fd* fd : {&listener, const_cast<const Fd*>(&leg.far)}) {
        set(*fd, SO_RCVBUF, buffer_bytes);
        set(*fd, SO_SNDBUF, buffer_bytes);
        // Neither connect() nor accept() nor send() may wait for ever: this is an agent that starts.
        const timeval patience{.tv_sec = patience_ms / 1000, .tv_usec = 0};
        ::setsockopt(fd->get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        ::setsockopt(fd->get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    const bool connected = ::bind(listener.get(), generic, size) == 0 && ::listen(listener.get(), 1) == 0 &&
                           ::getsockname(listener.get(), generic, &size) == 0 &&
                           ::connect(leg.far.get(), generic, size) == 0;
    if (connected) leg.near = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    require(static_cast<bool>(leg.near), "no TCP on the loopback to try it with");
    return leg;
}

bool wait_for(const Fd& fd, short events, int ms) {
    pollfd poll_for{.fd = fd.get(), .events = events, .revents = 0};
    return ::poll(&poll_for, 1, ms) == 1;
}

// Appends what is there, at most `bytes_max`, waiting for the first of it.
bool receive(const Fd& fd, std::string& into, std::size_t bytes_max, int ms) {
    if (!wait_for(fd, POLLIN, ms)) return false;
    std::array<char, 16384> buffer{};
    const ssize_t n = ::recv(fd.get(), buffer.data(), std::min(buffer.size(), bytes_max), MSG_DONTWAIT);
    if (n > 0) into.append(buffer.data(), static_cast<std::size_t>(n));
    return n > 0;
}

std::string receive_exactly(const Fd& fd, std::size_t bytes, int ms) {
    std::string got;
    while (got.size() < bytes && receive(fd, got, bytes - got.size(), ms)) {
    }
    return got;
}

std::string pattern(std::size_t from, std::size_t bytes) {
    std::string out(bytes, '\0');
    for (std::size_t i = 0; i < bytes; ++i)
        out[i] = static_cast<char>((from + i) * 2654435761u >> 13);
    return out;
}

void try_start_and_fin() {
    Sockmap map(1);
    const Leg client = make_leg();
    const Leg server = make_leg();
    const std::string sent = pattern(0, 6000);
    require(::send(client.far.get(), sent.data(), sent.size(), 0) == static_cast<ssize_t>(sent.size()),
            "send");
    // Half a segment read: its rest must be cut off from what is redirected, as with overlapping segments.
    require(receive_exactly(client.near, 100, patience_ms) == sent.substr(0, 100),
            "no bytes on the loopback");
    require(map.insert(client.near.get(), server.near.get()).has_value(), "sockets are not accepted");
    const std::string more = pattern(sent.size(), 5000);
    require(::send(client.far.get(), more.data(), more.size(), 0) == static_cast<ssize_t>(more.size()),
            "send");
    require(receive_exactly(server.far, 10'900, patience_ms) == (sent + more).substr(100),
            "bytes from before the start are stuck, doubled or lost");
    ::shutdown(client.far.get(), SHUT_WR);
    require(wait_for(client.near, POLLRDHUP, patience_ms), "FIN is not seen");
    require(::send(server.far.get(), "ok", 2, 0) == 2, "send");
    require(receive_exactly(client.far, 2, patience_ms) == "ok", "FIN breaks the other direction");
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(server.near.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    require(error == 0, "FIN breaks the other socket");
}

void try_slow_reader() {
    Sockmap map(1);
    const Leg client = make_leg();
    const Leg server = make_leg();
    const auto inserted = map.insert(client.near.get(), server.near.get());
    require(inserted.has_value(), "sockets are not accepted");
    std::size_t sent = 0;
    while (wait_for(client.far, POLLOUT, stalled_ms)) {
        const std::string bytes = pattern(sent, 8192);
        const ssize_t n = ::send(client.far.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) sent += static_cast<std::size_t>(n);
        require(sent <= accepted_bytes_max, "a reader that stalls does not stop its sender");
    }
    const auto& leg = map.leg(inserted->pair, Sockmap::client);
    require(leg.passed > 0, "a reader that stalls is not noticed");
    std::string got = receive_exactly(server.far, leg.redirected, patience_ms);
    got += receive_exactly(client.near, sent - got.size(), patience_ms);
    require(got == pattern(0, sent), "a slow reader loses bytes");
    require(leg.passed + leg.redirected == sent, "passed bytes are not counted well");
    map.consume(inserted->pair, Sockmap::client, leg.passed);
    require(::send(client.far.get(), "back", 4, 0) == 4, "send");
    require(receive_exactly(server.far, 4, patience_ms) == "back", "there is no way back to the kernel");
}

}  // namespace

std::optional<std::string> sockmap_self_test() {
    try {
        require_version();
        try_start_and_fin();
        try_slow_reader();
    } catch (const Failed& failed) {
        return failed.why;
    } catch (const SockmapError& error) {
        return error.what();
    }
    return std::nullopt;
}

}  // namespace sluice::datapath
