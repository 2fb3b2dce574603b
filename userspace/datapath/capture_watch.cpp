#include "userspace/datapath/capture_watch.h"

#include <linux/capability.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "userspace/datapath/capability.h"
#include "userspace/datapath/nft.h"

namespace sluice::datapath {

CaptureWatch::CaptureWatch()
    : socket_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER)) {
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = 1U << (NFNLGRP_NFTABLES - 1);
    if (!socket_ || ::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
        throw CaptureError(std::string("watching nftables: ") + std::strerror(errno));
    }
}

void CaptureWatch::drain() {
    std::array<char, 16 * 1024> messages;
    // ENOBUFS says that messages were lost; what they said does not matter, only that there were some.
    while (::recv(socket_.get(), messages.data(), messages.size(), 0) > 0 || errno == ENOBUFS) {
    }
}

bool capture_is_installed() {
    try {
        return run_nft("nftables", "list chain inet sluice prerouting").find("jump clients") !=
               std::string::npos;
    } catch (const CaptureError&) {
        if (!has_capability(CAP_NET_ADMIN)) throw;
        return false;
    }
}

}  // namespace sluice::datapath
