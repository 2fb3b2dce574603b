#pragma once
// The configuration's section `proxy`.
#include <vector>

#include "policy/address.h"
#include "policy/yaml_reader.h"

namespace sluice::agent {

// Different ports of `listen`, at most: the packet splice knows so many listeners by their ports.
inline constexpr std::size_t proxy_ports_max = 2;

struct ProxyConfig {
    std::vector<policy::Endpoint> listen;  // empty: no proxy
    std::vector<policy::Cidr> from;        // whose connections are taken; not empty, unless `listen` is

    bool operator==(const ProxyConfig&) const = default;
    bool serves(const policy::IpAddress& source) const;
    std::vector<std::uint16_t> ports() const;  // each once
};

// Throws policy::FileError. `capture_port`: of the listener for captured flows.
ProxyConfig read_proxy(const policy::YamlReader& value, std::uint16_t capture_port);

}  // namespace sluice::agent
