#include "userspace/agent/proxy_config.h"

#include <algorithm>

#include "policy/conditions_file.h"
#include "policy/quote.h"

namespace sluice::agent {
namespace {

constexpr std::string_view endpoint_wanted =
    "an address and a port, such as 10.0.0.1:3128 or \"[fd00::1]:3128\"";

std::optional<policy::Endpoint> parse_endpoint(std::string_view text) {
    const auto endpoint = policy::Endpoint::parse(text);
    return endpoint && endpoint->port != 0 ? endpoint : std::nullopt;
}

std::vector<policy::Endpoint> read_listen(const policy::YamlReader& value, std::uint16_t capture_port) {
    std::vector<policy::Endpoint> listen;
    for (const policy::YamlReader& entry : value.entries(endpoint_wanted)) {
        const policy::Endpoint endpoint = entry.parsed(endpoint_wanted, parse_endpoint);
        const std::string found = ", found " + policy::quote(endpoint.to_string());
        if (std::ranges::find(listen, endpoint) != listen.end())
            entry.fail("expected each address and port once" + found + " again");
        if (endpoint.port == capture_port) entry.fail("expected another port than capture's" + found);
        listen.push_back(endpoint);
        if (ProxyConfig{.listen = listen, .from = {}}.ports().size() > proxy_ports_max)
            entry.fail("expected at most two different ports in all" + found);
    }
    return listen;
}

}  // namespace

bool ProxyConfig::serves(const policy::IpAddress& source) const {
    return std::ranges::any_of(from, [&](const policy::Cidr& range) { return range.contains(source); });
}

std::vector<std::uint16_t> ProxyConfig::ports() const {
    std::vector<std::uint16_t> ports;
    for (const policy::Endpoint& endpoint : listen) {
        if (std::ranges::find(ports, endpoint.port) == ports.end()) ports.push_back(endpoint.port);
    }
    return ports;
}

ProxyConfig read_proxy(const policy::YamlReader& value, std::uint16_t capture_port) {
    const policy::YamlMapping mapping = value.mapping("a mapping with listen: and from:", {"listen", "from"});
    return {.listen = read_listen(mapping.at("listen"), capture_port),
            .from = policy::read_cidrs(mapping.at("from"))};
}

}  // namespace sluice::agent
