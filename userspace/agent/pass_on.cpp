#include "userspace/agent/pass_on.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace sluice::agent {

asio::awaitable<Passed> pass_on(std::size_t bytes, Socket& from, Socket& to, Patience& patience) {
    while (bytes > 0) {
        thread_local std::array<char, 16 * 1024> buffer;  // filled and emptied between two waits
        const ssize_t got =
            ::recv(from.native(), buffer.data(), std::min(bytes, buffer.size()), MSG_PEEK | MSG_DONTWAIT);
        if (got <= 0) co_return Passed::from_failed;
        const ssize_t sent =
            ::send(to.native(), buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            const auto taken = static_cast<std::size_t>(sent);
            ::recv(from.native(), nullptr, taken, MSG_TRUNC | MSG_DONTWAIT);  // discards, as tcp(7) says
            bytes -= taken;
            continue;
        }
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            to.failed = true;
            co_return Passed::to_failed;
        }
        to.writable = false;
        if (!co_await patience.writable_or_failed(to, from)) co_return Passed::not_in_time;
        if (from.failed) co_return Passed::from_failed;
    }
    co_return Passed::all;
}

}  // namespace sluice::agent
