#include "userspace/agent/socks_request.h"

namespace sluice::agent {
namespace {

constexpr std::uint8_t method_none = 0;
constexpr std::uint8_t command_connect = 1;
constexpr std::uint8_t type_v4 = 1;
constexpr std::uint8_t type_name = 3;
constexpr std::uint8_t type_v6 = 4;
constexpr std::size_t head_bytes = 4;  // of a request, up to its address
constexpr std::size_t port_bytes = 2;

SocksRequest refused(SocksReply reply) {
    return {.status = SocksStatus::refused, .bytes = 0, .target = {}, .reply = reply};
}

SocksRequest incomplete(std::size_t bytes_needed) {
    return {.status = SocksStatus::incomplete, .bytes = bytes_needed, .target = {}};
}

std::uint16_t read_port(std::span<const std::uint8_t> bytes) {
    return static_cast<std::uint16_t>(bytes[0] << 8 | bytes[1]);
}

// How long the address is; 0: of no known type.
std::size_t address_bytes(std::span<const std::uint8_t> request) {
    switch (request[3]) {
        case type_v4:
            return 4;
        case type_v6:
            return 16;
        case type_name:
            return 1u + request[head_bytes];
        default:
            return 0;
    }
}

std::optional<ProxyTarget> read_target(std::uint8_t type, std::span<const std::uint8_t> address,
                                       std::uint16_t port) {
    if (type == type_name) {
        const auto name = address.subspan(1);
        return ProxyTarget::parse({reinterpret_cast<const char*>(name.data()), name.size()}, port);
    }
    if (port == 0) return std::nullopt;
    return ProxyTarget{.name = {},
                       .address = type == type_v4 ? policy::IpAddress::v4(address.first<4>())
                                                  : policy::IpAddress::v6(address.first<16>()),
                       .port = port};
}

}  // namespace

SocksGreeting parse_socks_greeting(std::span<const std::uint8_t> bytes) {
    SocksGreeting greeting{.bytes = 2};
    if (!bytes.empty() && bytes[0] != socks_version) greeting.status = SocksStatus::refused;
    if (bytes.size() >= 2 && bytes[1] == 0) greeting.status = SocksStatus::refused;
    if (bytes.size() < 2 || greeting.status == SocksStatus::refused) return greeting;
    greeting.bytes = 2u + bytes[1];
    if (bytes.size() < greeting.bytes) return greeting;
    greeting.status = SocksStatus::complete;
    for (const std::uint8_t method : bytes.subspan(2, bytes[1]))
        greeting.no_authentication = greeting.no_authentication || method == method_none;
    return greeting;
}

SocksRequest parse_socks_request(std::span<const std::uint8_t> bytes) {
    if (!bytes.empty() && bytes[0] != socks_version) return refused(SocksReply::general_failure);
    if (bytes.size() >= 2 && bytes[1] != command_connect) return refused(SocksReply::command_not_supported);
    if (bytes.size() >= 3 && bytes[2] != 0) return refused(SocksReply::general_failure);
    if (bytes.size() >= head_bytes && bytes[3] != type_v4 && bytes[3] != type_name && bytes[3] != type_v6)
        return refused(SocksReply::address_type_not_supported);
    // A name's length is its first byte; every other address is longer than that too.
    if (bytes.size() < head_bytes + 1) return incomplete(head_bytes + 1);
    const std::size_t address = address_bytes(bytes);
    const std::size_t whole = head_bytes + address + port_bytes;
    if (bytes.size() < whole) return incomplete(whole);
    auto target = read_target(bytes[3], bytes.subspan(head_bytes, address),
                              read_port(bytes.subspan(head_bytes + address, port_bytes)));
    if (!target) return refused(SocksReply::general_failure);
    return {.status = SocksStatus::complete, .bytes = whole, .target = std::move(*target)};
}

}  // namespace sluice::agent
