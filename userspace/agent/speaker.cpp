#include "userspace/agent/speaker.h"

#include <sys/socket.h>

#include <boost/asio/experimental/awaitable_operators.hpp>

namespace sluice::agent {
namespace {

bool has_bytes(const Socket& socket) {
    char byte = 0;
    return ::recv(socket.native(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

}  // namespace

asio::awaitable<Speaker> first_to_speak(Socket& downstream, Socket& upstream, Patience& patience,
                                        std::chrono::seconds idle_timeout) {
    using namespace asio::experimental::awaitable_operators;
    patience.wait_until(Clock::now() + idle_timeout);
    // A client that finished before it said anything stays readable for ever: then only the server can speak.
    if (has_bytes(downstream)) co_return Speaker::client;
    if (downstream.read_side_closed()) co_return Speaker::server;
    co_await (downstream.wait(WaitFor::readable, patience) || upstream.wait(WaitFor::readable, patience));
    if (has_bytes(downstream)) co_return Speaker::client;
    co_return patience.over() ? Speaker::nobody : Speaker::server;
}

}  // namespace sluice::agent
