#pragma once
// Servers that are known to speak first, by address and port: a pinned BPF map in the state directory, so
// that they outlive the agent, however it ends, and the CLI reads them without it. It knows no more than
// that: what a client or a server says is judged as ever, only sooner.
//
// Bounded: of more than learned_servers_max those go that have not been heard for the longest time.
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "policy/address.h"
#include "policy/protocol.h"
#include "userspace/datapath/fd.h"

namespace sluice::datapath {

inline constexpr std::uint32_t learned_servers_max = 8192;

struct LearnedServer {
    policy::Endpoint server;
    policy::Protocol protocol = policy::Protocol::server_first;  // of its last greeting
    std::uint64_t learned_ns = 0;                                // CLOCK_MONOTONIC, as all times here
    std::uint64_t heard_ns = 0;                                  // last
};

// Thread-safe: each call but list() is one or two system calls.
class LearnedServers {
  public:
    static constexpr std::chrono::hours keep{24};  // since the server was last heard

    // For the agent: makes and pins the map, or adopts the one that is there; one of another version's layout
    // is made anew. Throws StateError.
    static LearnedServers own(const std::string& directory);
    // For readers. Nothing: no agent has made one here.
    static std::optional<LearnedServers> open(const std::string& directory);

    bool knows(const policy::Endpoint& server) const;
    void learn(const policy::Endpoint& server, policy::Protocol protocol);
    bool forget(const policy::Endpoint& server);  // false: it was not known
    std::vector<LearnedServer> list() const;      // by address and port; without those that have expired

  private:
    explicit LearnedServers(Fd map) : map_(std::move(map)) {}
    Fd map_;
};

}  // namespace sluice::datapath
