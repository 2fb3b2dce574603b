#pragma once
// Where a client of the proxy wants to go, in its own words. Pure.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "policy/address.h"

namespace sluice::agent {

struct ProxyTarget {
    std::string name;  // as names are compared; empty: it gave an address
    std::optional<policy::IpAddress> address;
    std::uint16_t port = 0;

    // `host`: a name or an IP literal, without brackets. Nothing: neither. A name whose last label is a
    // number is one of the old ways to write an IPv4 address (127.1, 0x7f000001), which resolvers believe and
    // nobody who writes rules means.
    static std::optional<ProxyTarget> parse(std::string_view host, std::uint16_t port);
};

}  // namespace sluice::agent
