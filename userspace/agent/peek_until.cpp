#include "userspace/agent/peek_until.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>
#include <vector>

namespace sluice::agent {
namespace {

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
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) socket.failed = true;
    return !socket.failed;
}

// Wakes a socket's waiter only when so much is there: without it, waiting on a socket with unread bytes
// returns at once, for ever. It also widens the receive window, so that a hello longer than the initial one
// can arrive. Setting it wakes the waiter by itself while the receive buffer is nearly full (tcp_set_rcvlowat
// and tcp_epollin_ready, with many small segments), so it is set only when it changes. Back to 1 in the end:
// whoever reads next must hear of every byte.
class LowWater {
  public:
    explicit LowWater(const Socket& socket) : socket_(socket) {}
    ~LowWater() { raise(1); }
    LowWater(const LowWater&) = delete;
    LowWater& operator=(const LowWater&) = delete;

    void raise(std::size_t bytes) {
        if (bytes == std::exchange(bytes_, bytes)) return;
        set_option(socket_.native(), SOL_SOCKET, SO_RCVLOWAT, static_cast<int>(bytes));
    }

  private:
    const Socket& socket_;
    std::size_t bytes_ = 1;
};

}  // namespace

asio::awaitable<Peeked> peek_until(Socket& socket, Socket& other, Patience& patience, std::size_t bytes_max,
                                   std::function<std::size_t(std::span<const std::uint8_t>)> bytes_needed,
                                   OtherSocket other_socket) {
    LowWater low_water(socket);
    Peeked seen;
    bool last_look = false;
    for (;;) {
        last_look = last_look || socket.hung_up;
        if (!look(socket, bytes_max, seen.bytes)) co_return Peeked{};
        const std::size_t needed = seen.bytes.empty() ? 1 : bytes_needed(seen.bytes);
        seen.end = needed == 0 ? Peeked::End::enough : Peeked::End::no_more;
        if (needed == 0 || last_look) co_return seen;
        low_water.raise(needed);
        const bool hears_other = other_socket == OtherSocket::may_speak && !other.hung_up;
        const bool woken = hears_other ? co_await patience.either_readable(socket, other)
                                       : co_await patience.readable_or_failed(socket, other);
        if (other.failed) co_return Peeked{};
        const bool other_speaks = hears_other && other.readable && !other.hung_up;
        last_look = !woken || other_speaks;
    }
}

}  // namespace sluice::agent
