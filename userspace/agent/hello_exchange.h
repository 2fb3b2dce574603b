#pragma once
// The first round of a TLS handshake, carried by the agent before the splice: the ClientHello to the server,
// and the server's answer looked at. A server may ask for a second ClientHello, and then believes that one
// (HelloRetryRequest, RFC 8446 4.1.4): a client could name one host in the first, and another in the second.
#include <boost/asio/awaitable.hpp>
#include <expected>

#include "userspace/agent/flow.h"
#include "userspace/agent/patience.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

enum class ServerSays : std::uint8_t {
    go_on,        // nothing is left to judge; its answer, or its end, is still unread
    hello_again,  // its HelloRetryRequest has been passed on to the client
};

// Passes on exactly the hello: what the client has sent after it, such as early data, waits for the server's
// answer, since it could be the second hello. The bytes passed on are counted in the flow. The error is how
// the flow ends: idle_timeout, or whatever ended the patience, or client_reset or server_reset.
asio::awaitable<std::expected<ServerSays, flow_end>> exchange_hello(Flow& flow, Socket& downstream,
                                                                    Socket& upstream, Patience& patience,
                                                                    std::chrono::seconds idle_timeout);

// The same for a flow of another protocol whose client spoke first: what it has said so far goes to the
// server by the agent's own socket, and is waited for until the server's kernel has acknowledged it, some
// round trips long. So the bytes that were judged are the bytes that arrive: a client that is not
// acknowledged can repeat others in their place. False: not acknowledged in time.
asio::awaitable<std::expected<bool, flow_end>> deliver_first_bytes(Flow& flow, Socket& downstream,
                                                                   Socket& upstream, Patience& patience,
                                                                   std::chrono::seconds idle_timeout);

}  // namespace sluice::agent
