#pragma once
// The first part of a flow that begins at the gateway's own proxy: what its client asks for, and what it is
// told. HTTP CONNECT and SOCKS5 on one port: the first byte tells which.
#include <boost/asio/awaitable.hpp>

#include "userspace/agent/flow.h"
#include "userspace/agent/patience.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

// Reads the request, and nothing behind it; looks the name up; and judges what is known by then.
//
//     denied for certain        -> the client is refused, and no server hears of it
//     allowed for certain       -> the server is connected to, so that the client hears if that fails;
//     `upstream` depends on what is said   -> nobody is connected to until that has been judged
//
// `live`: the client has been told that it is connected, the flow's destination is known, and all else goes
// on as for any other flow. Else how the flow ends; refuse() tells the client.
asio::awaitable<flow_end> admit_proxied(Worker& worker, Flow& flow, Socket& downstream, SocketPtr& upstream,
                                        Patience& patience);

}  // namespace sluice::agent
