#pragma once
// The leg that the gateway opens: a connection to the original destination, or to where the flow is pinned.
#include <boost/asio/awaitable.hpp>
#include <expected>

#include "userspace/agent/flow.h"

namespace sluice::agent {

// The error is descriptor_limit, upstream_refused, upstream_unreachable, upstream_timeout or upstream_failed,
// client_gone, or who ended the patience.
asio::awaitable<std::expected<SocketPtr, flow_end>> connect_upstream(Flow& flow, Socket& downstream,
                                                                     Patience& patience, Worker& worker);

}  // namespace sluice::agent
