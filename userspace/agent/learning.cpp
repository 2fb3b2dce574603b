#include "userspace/agent/learning.h"

#include <algorithm>
#include <functional>
#include <string_view>

namespace sluice::agent {
namespace {

// An IPv6 client has a whole /64 to call from.
std::size_t hash_of(const policy::IpAddress& client) {
    constexpr std::size_t prefix_bytes = 8;
    const auto& bytes = client.bytes();
    return std::hash<std::string_view>{}(
        {reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), prefix_bytes)});
}

}  // namespace

bool Learning::may_add(const policy::IpAddress& client, Clock::time_point now) {
    if (now - minute_ >= std::chrono::minutes(1)) {
        news_.fill(0);
        minute_ = now;
    }
    std::uint8_t& news = news_[hash_of(client) % news_.size()];
    if (news >= news_max) return false;
    ++news;
    return true;
}

void Learning::learn(const policy::IpAddress& client, const policy::Endpoint& server,
                     policy::Protocol protocol, Clock::time_point now) {
    if (servers_.knows(server) || may_add(client, now)) servers_.learn(server, protocol);
}

}  // namespace sluice::agent
