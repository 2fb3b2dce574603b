#pragma once
// Looks at a socket's unread bytes, again whenever enough more have come, and consumes none.
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <span>

#include "userspace/agent/patience.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

struct Peeked {
    enum class End : std::uint8_t {
        enough,   // `bytes_needed` said so
        no_more,  // the peer has finished, the patience is over, or the kernel has no room for more
        failed,   // this connection is gone, or the flow's other one
    };
    End end = End::failed;
    std::span<const std::uint8_t> bytes;  // as last seen; valid until the caller waits again
};

// `bytes_needed`, called with everything there is so far (not empty), answers 0 when that is enough, else the
// least length at which asking again can help. At most `bytes_max` are looked at. `other`: the flow's other
// socket, whose failure ends the wait; `socket` itself when there is none. Its first bytes may end it, too.
enum class OtherSocket : std::uint8_t { is_silent, may_speak };
asio::awaitable<Peeked> peek_until(Socket& socket, Socket& other, Patience& patience, std::size_t bytes_max,
                                   std::function<std::size_t(std::span<const std::uint8_t>)> bytes_needed,
                                   OtherSocket other_socket = OtherSocket::is_silent);

}  // namespace sluice::agent
