#pragma once
// policy::Endpoint to and from what the kernel wants.
#include <netinet/in.h>
#include <sys/socket.h>

#include "policy/address.h"

namespace sluice::test {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size = sizeof(sockaddr_storage);

    SocketAddress() = default;
    explicit SocketAddress(const policy::Endpoint& endpoint);
    sockaddr* data() { return reinterpret_cast<sockaddr*>(&storage); }
    policy::Endpoint endpoint() const;  // a v4-mapped address becomes IPv4
};

}  // namespace sluice::test
