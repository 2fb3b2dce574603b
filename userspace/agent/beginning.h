#pragma once
// The beginning in the clear of a flow that may turn to TLS (starttls.h), and the ClientHello after it.
#include <boost/asio/awaitable.hpp>

#include "userspace/agent/flow.h"
#include "userspace/agent/patience.h"
#include "userspace/agent/peek.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

// The agent carries commands and replies until TLS begins, until a command comes that does not lead there, or
// until that has taken too long; then the flow is judged by what is known. `live`: allowed. The hello, or the
// command, is still in the client's socket.
asio::awaitable<flow_end> judge_beginning(Worker& worker, Flow& flow, Socket& downstream, Socket& upstream,
                                          Patience& patience);

// What a hello of such a flow is judged as: its protocol is the one that it began in.
void keep_beginning(const Flow& flow, Opening& opening);

}  // namespace sluice::agent
