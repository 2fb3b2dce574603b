#include "userspace/agent/speaker.h"

#include <sys/socket.h>

namespace sluice::agent {
namespace {

bool has_bytes(const Socket& socket) {
    char byte = 0;
    return ::recv(socket.native(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

}  // namespace

asio::awaitable<Speaker> first_to_speak(Socket& downstream, Socket& upstream, Patience& patience,
                                        std::chrono::seconds idle_timeout) {
    patience.last_until(Clock::now() + idle_timeout);
    // A client that finished before it said anything has nothing to be judged by: only the server can speak.
    if (has_bytes(downstream)) co_return Speaker::client;
    if (downstream.hung_up) co_return Speaker::server;
    co_await patience.either_readable(downstream, upstream);
    if (has_bytes(downstream)) co_return Speaker::client;
    co_return patience.over() ? Speaker::nobody : Speaker::server;
}

}  // namespace sluice::agent
