#pragma once
// After a silent client's flow was allowed and dialled: who speaks first?
#include <boost/asio/awaitable.hpp>
#include <chrono>

#include "userspace/agent/patience.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

enum class Speaker : std::uint8_t {
    client,  // has sent bytes: they must be judged (also when the server has spoken at the same time)
    server,  // has sent bytes, or one of the two has finished or failed: nothing is left to judge
    nobody,  // the patience is over
};

asio::awaitable<Speaker> first_to_speak(Socket& downstream, Socket& upstream, Patience& patience,
                                        std::chrono::seconds idle_timeout);

}  // namespace sluice::agent
