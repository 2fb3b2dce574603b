#include "userspace/agent/peek_until.h"

#include <sys/socket.h>

#include <cerrno>
#include <vector>

namespace sluice::agent {
namespace {

// A wake-up that brings nothing is the kernel out of room for this socket, or an accident; not for ever.
constexpr int fruitless_wakes_max = 8;

// One buffer per worker thread: filled and read between two waits, never across one.
std::span<std::uint8_t> scratch(std::size_t bytes) {
    thread_local std::vector<std::uint8_t> buffer;
    if (buffer.size() < bytes) buffer.resize(bytes);
    return {buffer.data(), bytes};
}

// False: the connection is gone.
bool look(Socket& socket, std::size_t bytes_max, std::span<const std::uint8_t>& bytes) {
    socket.readable = false;  // the next edge is about bytes that this look does not see
    const auto buffer = scratch(bytes_max);
    const ssize_t n = ::recv(socket.native(), buffer.data(), buffer.size(), MSG_PEEK | MSG_DONTWAIT);
    bytes = buffer.first(n > 0 ? static_cast<std::size_t>(n) : 0);
    return !socket.failed && (n >= 0 || errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

// Wakes a socket's waiter only when so much is there: without it, waiting on a socket with unread bytes
// returns at once, for ever. It also widens the receive window, so that a hello longer than the initial one
// can arrive (tcp_set_rcvlowat). Back to 1 in the end: whoever reads next must hear of every byte.
class LowWater {
  public:
    explicit LowWater(const Socket& socket) : socket_(socket) {}
    ~LowWater() {
        if (raised_) set_option(socket_.native(), SOL_SOCKET, SO_RCVLOWAT, 1);
    }
    LowWater(const LowWater&) = delete;
    LowWater& operator=(const LowWater&) = delete;

    void raise(std::size_t bytes) {
        raised_ = true;
        set_option(socket_.native(), SOL_SOCKET, SO_RCVLOWAT, static_cast<int>(bytes));
    }

  private:
    const Socket& socket_;
    bool raised_ = false;
};

}  // namespace

asio::awaitable<Peeked> peek_until(Socket& socket, Socket& other, Patience& patience, std::size_t bytes_max,
                                   std::function<std::size_t(std::span<const std::uint8_t>)> bytes_needed) {
    LowWater low_water(socket);
    Peeked seen;
    bool last_look = false;
    for (int fruitless = 0;;) {
        const std::size_t bytes_before = seen.bytes.size();
        if (!look(socket, bytes_max, seen.bytes)) co_return Peeked{};
        const std::size_t needed = seen.bytes.empty() ? 1 : bytes_needed(seen.bytes);
        seen.end = needed == 0 ? Peeked::End::enough : Peeked::End::no_more;
        if (needed == 0 || last_look) co_return seen;
        if (needed > 1) low_water.raise(needed);
        fruitless = seen.bytes.size() == bytes_before ? fruitless + 1 : 0;
        const bool woken = co_await patience.readable_or_failed(socket, other);
        if (other.failed) co_return Peeked{};
        // Woken with fewer bytes than asked for: the peer finished, or the kernel has no room for more.
        last_look = !woken || socket.hung_up || fruitless > fruitless_wakes_max;
    }
}

}  // namespace sluice::agent
