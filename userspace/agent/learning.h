#pragma once
// What a worker's flows learn of servers that speak first (datapath/learned_servers.h), and how much of it
// may come from one client: without a limit one that dials whoever greets would push out what others use.
#include <array>
#include <chrono>
#include <cstdint>

#include "policy/address.h"
#include "policy/protocol.h"
#include "userspace/datapath/learned_servers.h"

namespace sluice::agent {

class Learning {
  public:
    using Clock = std::chrono::steady_clock;
    static constexpr unsigned news_max = 8;  // new servers by one client, a minute

    explicit Learning(datapath::LearnedServers& servers) : servers_(servers) {}

    bool knows(const policy::Endpoint& server) const { return servers_.knows(server); }
    // It has spoken before this client did.
    void learn(const policy::IpAddress& client, const policy::Endpoint& server, policy::Protocol protocol,
               Clock::time_point now);
    // A client that was taken for a silent one has spoken before it.
    void forget(const policy::Endpoint& server) { servers_.forget(server); }

  private:
    bool may_add(const policy::IpAddress& client, Clock::time_point now);

    datapath::LearnedServers& servers_;
    std::array<std::uint8_t, 1024> news_{};  // by a hash of the client; two that share one have less
    Clock::time_point minute_{};
};

}  // namespace sluice::agent
