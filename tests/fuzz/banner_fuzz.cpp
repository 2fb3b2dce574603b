// Whatever a server says, and however it is cut: there is an answer once it is all there, it does not change
// afterwards, and a version is never longer than what was read.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "userspace/agent/banner.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice;
    if (size < 2) return 0;
    const auto port = static_cast<std::uint16_t>(data[0] << 8 | data[1]);
    const std::span bytes(data + 2, size - 2);
    const auto all = agent::read_banner(bytes, port, true);
    if (!all || all->ssh_version.size() > agent::banner_bytes_max) std::abort();
    if (!all->ssh_version.empty() && all->protocol != policy::Protocol::ssh) std::abort();
    if (bytes.size() >= agent::banner_bytes_max && !agent::read_banner(bytes, port, false)) std::abort();
    for (std::size_t length = 0; length <= std::min(bytes.size(), agent::banner_bytes_max); ++length) {
        const auto early = agent::read_banner(bytes.first(length), port, false);
        if (!early) continue;
        const auto late = agent::read_banner(bytes.first(length), port, true);
        if (!late || late->protocol != early->protocol) std::abort();
    }
    return 0;
}
