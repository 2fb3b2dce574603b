#pragma once
// policy::Endpoint <-> struct sockaddr.
#include <netinet/in.h>
#include <sys/socket.h>

#include "policy/address.h"

namespace sluice::agent {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = sizeof(sockaddr_storage);

    SocketAddress() = default;
    explicit SocketAddress(const policy::Endpoint& endpoint);

    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
    policy::Endpoint endpoint() const;  // 0.0.0.0:0 for another family
};

}  // namespace sluice::agent
