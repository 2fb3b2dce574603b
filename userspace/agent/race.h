#pragma once
// After a silent client's flow was let go on, and its server dialled: whoever speaks first is judged by what
// it says, and neither has got a byte of the other's by then.
#include <boost/asio/awaitable.hpp>

#include "userspace/agent/flow.h"
#include "userspace/agent/patience.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

// `live`: judged, and allowed. Else how the flow ends. When both have spoken, the client counts. A greeting
// is looked at, not consumed, and not acknowledged unless more of it must be waited for.
asio::awaitable<flow_end> race_to_speak(Worker& worker, Flow& flow, Socket& downstream, Socket& upstream,
                                        Patience& patience);

}  // namespace sluice::agent
