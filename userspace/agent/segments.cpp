#include "userspace/agent/segments.h"

// The kernel's header, alone: glibc's struct tcp_info lacks the counters, and the two cannot be included
// together.
#include <linux/tcp.h>
#include <sys/socket.h>

namespace sluice::agent {

std::uint64_t segments_received(int fd) {
    constexpr int ipproto_tcp = 6;
    tcp_info info{};
    socklen_t length = sizeof info;
    return ::getsockopt(fd, ipproto_tcp, TCP_INFO, &info, &length) == 0 ? info.tcpi_segs_in : 0;
}

}  // namespace sluice::agent
