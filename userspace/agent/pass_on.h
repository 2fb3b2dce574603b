#pragma once
// The agent's own hand in a flow, before its splice: moves bytes from one socket to the other.
#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <cstdint>

#include "userspace/agent/patience.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

enum class Passed : std::uint8_t { all, from_failed, to_failed, not_in_time };

// Moves `bytes`, which are known to be unread in `from`. What the receiver does not take stays there
// meanwhile.
asio::awaitable<Passed> pass_on(std::size_t bytes, Socket& from, Socket& to, Patience& patience);

}  // namespace sluice::agent
