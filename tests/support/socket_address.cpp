#include "tests/support/socket_address.h"

#include <cstring>
#include <span>

namespace sluice::test {

SocketAddress::SocketAddress(const policy::Endpoint& endpoint) {
    const auto bytes = endpoint.address.bytes();
    if (endpoint.address.is_v4()) {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(endpoint.port);
        std::memcpy(&v4.sin_addr, bytes.data(), 4);
        std::memcpy(&storage, &v4, sizeof v4);
        size = sizeof v4;
    } else {
        sockaddr_in6 v6{};
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(endpoint.port);
        std::memcpy(&v6.sin6_addr, bytes.data(), 16);
        std::memcpy(&storage, &v6, sizeof v6);
        size = sizeof v6;
    }
}

policy::Endpoint SocketAddress::endpoint() const {
    if (storage.ss_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &storage, sizeof v4);
        std::uint8_t bytes[4];
        std::memcpy(bytes, &v4.sin_addr, sizeof bytes);
        return {policy::IpAddress::v4(bytes), ntohs(v4.sin_port)};
    }
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    std::uint8_t bytes[16];
    std::memcpy(bytes, &v6.sin6_addr, sizeof bytes);
    return {policy::IpAddress::v6(bytes), ntohs(v6.sin6_port)};
}

}  // namespace sluice::test
