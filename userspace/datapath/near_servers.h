#pragma once
// Which servers are near which clients, and agree to what they do: the packet splice has taken a flow between
// the two lately. Such a pair needs no sockets to be brought together (bpf/packet_deferred.h,
// bpf/packet_dial.h). Thread-safe.
#include <optional>

#include "bpf/hold_abi.h"
#include "userspace/datapath/packet_splice.h"

namespace sluice::datapath {

class NearServers {
  public:
    explicit NearServers(const PacketSplice& splice) : map_(splice.map_fd("near_servers")) {}

    // `client`: the tuple of a client's packets; its port does not matter.
    std::optional<near_server> find(const packet_tuple& client) const;
    // For ten minutes; `until_ns` is not looked at. The kernel forgets who was used least when there are too
    // many.
    void learn(const packet_tuple& client, near_server server);
    // Nor is it learned for ten minutes: it speaks first at times, and then its clients must not wait.
    void shun(const packet_tuple& client);
    void forget(const packet_tuple& client);

  private:
    void write(const packet_tuple& client, near_server server);
    std::optional<near_server> read(const packet_tuple& client) const;

    int map_;
};

}  // namespace sluice::datapath
