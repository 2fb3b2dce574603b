#pragma once
// The addresses of a name, by the system's resolver (getaddrinfo: /etc/hosts, then DNS as resolv.conf has
// it).
#include <boost/asio/awaitable.hpp>
#include <expected>
#include <string>
#include <vector>

#include "bpf/flow_abi.h"
#include "policy/address.h"
#include "userspace/agent/patience.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

// Of one agent, all workers together; each takes a thread and a few descriptors while it lasts. One client
// cannot have them all.
inline constexpr unsigned lookups_max = 32;
inline constexpr unsigned lookups_of_client_max = 8;

// Not empty, in the order in which they should be tried. The error is name_unresolved, client_gone, or who
// ended the patience. Who finds no place waits for one. Nobody waits longer than `until`: a look-up that goes
// on is left to itself.
asio::awaitable<std::expected<std::vector<policy::IpAddress>, flow_end>> look_up(
    std::string name, Reactor& reactor, Socket& downstream, Patience& patience, policy::IpAddress client,
    Clock::time_point until);

}  // namespace sluice::agent
