#pragma once
// The leg that the gateway opens: a connection to the original destination.
#include <boost/asio/awaitable.hpp>
#include <expected>

#include "userspace/agent/config.h"
#include "userspace/agent/flow.h"

namespace sluice::agent {

// The error is upstream_refused, upstream_unreachable, upstream_timeout or upstream_failed, or who ended the
// patience.
asio::awaitable<std::expected<SocketPtr, flow_end>> connect_upstream(const Flow& flow, Patience& patience,
                                                                     const Config& config, Reactor& reactor);

}  // namespace sluice::agent
