#pragma once
// Tells a client that its flow will not be, in the way the rule asks for. The server has not heard of it.
#include <boost/asio/awaitable.hpp>

#include "userspace/agent/flow.h"
#include "userspace/agent/patience.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

// Whether that is without a word.
bool is_silent(const Flow& flow, flow_end why);

// `why` says whose decision it was: a policy's denial is answered in the flow's deny style, all else with
// RST. The socket is closed afterwards.
asio::awaitable<void> refuse(Socket& downstream, const Flow& flow, flow_end why, Patience& patience);

}  // namespace sluice::agent
