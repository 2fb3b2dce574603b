#include "userspace/agent/proxy_target.h"

#include <algorithm>

#include "policy/server_name.h"

namespace sluice::agent {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// As the WHATWG's URL standard has it ("ends in a number").
bool ends_in_a_number(std::string_view name) {
    const std::string_view last = name.substr(name.rfind('.') + 1);  // npos + 1 is 0
    return std::ranges::all_of(last, is_digit) || last.starts_with("0x");
}

}  // namespace

std::optional<ProxyTarget> ProxyTarget::parse(std::string_view host, std::uint16_t port) {
    if (port == 0) return std::nullopt;
    ProxyTarget target{.name = {}, .address = policy::IpAddress::parse(host), .port = port};
    if (target.address) return target;
    auto name = policy::canonical_server_name(host);
    if (!name || ends_in_a_number(*name)) return std::nullopt;
    target.name = std::move(*name);
    return target;
}

}  // namespace sluice::agent
