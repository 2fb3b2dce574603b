#pragma once
// The network that every system test runs in:
//
//     client 10.10.1.2 eth0 ---- lan0 10.10.1.1 gateway 10.10.2.1 wan0 ---- eth0 10.10.2.2 server
//        fd00:1::2               fd00:1::1       fd00:2::1                  fd00:2::2
//
// three namespaces, two links (veth pairs), forwarding on, default routes to the gateway. Without an agent it
// is a plain router.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "policy/address.h"
#include "tests/support/netns.h"
#include "tests/support/wire.h"

namespace sluice::test {

struct LabOptions {
    // A rough link loses 1 % of the TCP segments, sends 2 % on a detour of a few ms (so that they arrive out
    // of order) and 1 % twice, in both directions. Made of htb and nftables: not every kernel has netem.
    bool rough_client_link = false;
    bool rough_server_link = false;
    // In place of the veth pair.
    std::optional<WireOptions> client_wire = {};
    std::optional<WireOptions> server_wire = {};
    unsigned mtu = 1500;            // of both links
    unsigned server_addresses = 1;  // 10.10.2.2, 10.10.2.3, ...; at most 100
};

class Lab {
  public:
    explicit Lab(const LabOptions& options = {});

    const Netns& client() const { return client_; }
    const Netns& gateway() const { return gateway_; }
    const Netns& server() const { return server_; }
    const Wire& client_wire() const { return *client_wire_; }
    const Wire& server_wire() const { return *server_wire_; }

    // The server as the client dials it.
    static policy::Endpoint server_v4(std::uint16_t port, unsigned index = 0);
    static policy::Endpoint server_v6(std::uint16_t port);

  private:
    Netns client_{"client"};
    Netns gateway_{"gateway"};
    Netns server_{"server"};
    std::unique_ptr<Wire> client_wire_;
    std::unique_ptr<Wire> server_wire_;
};

policy::Endpoint endpoint(const std::string& text);  // "10.10.2.2:443"; throws on anything else

}  // namespace sluice::test
