#include "userspace/datapath/learned_servers.h"

#include <bpf/bpf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "bpf/flow_abi.h"
#include "userspace/datapath/flow_endpoint.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/monotonic.h"

namespace sluice::datapath {
namespace {

// The map's value; its key is a flow_endpoint.
struct Learned {
    __u64 learned_ns;
    __u64 heard_ns;
    __u32 protocol;
    __u32 unused;
};

std::string path_in(const std::string& directory) {
    return directory + "/learned_servers";
}

bool has_our_layout(const Fd& map) {
    bpf_map_info info{};
    __u32 bytes = sizeof info;
    return bpf_obj_get_info_by_fd(map.get(), &info, &bytes) == 0 && info.type == BPF_MAP_TYPE_LRU_HASH &&
           info.key_size == sizeof(flow_endpoint) && info.value_size == sizeof(Learned) &&
           info.max_entries == learned_servers_max;
}

bool has_expired(const Learned& value, std::uint64_t now_ns) {
    constexpr std::uint64_t keep_ns = std::chrono::nanoseconds(LearnedServers::keep).count();
    return now_ns - value.heard_ns > keep_ns && now_ns > value.heard_ns;
}

std::optional<Learned> find(const Fd& map, const flow_endpoint& key) {
    Learned value{};
    if (bpf_map_lookup_elem(map.get(), &key, &value) != 0) return std::nullopt;
    return value;
}

}  // namespace

LearnedServers LearnedServers::own(const std::string& directory) {
    const std::string path = path_in(directory);
    Fd map(bpf_obj_get(path.c_str()));
    if (map && has_our_layout(map)) return LearnedServers(std::move(map));
    if (map) ::unlink(path.c_str());
    map = Fd(bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "learned_servers", sizeof(flow_endpoint), sizeof(Learned),
                            learned_servers_max, nullptr));
    if (!map || bpf_obj_pin(map.get(), path.c_str()) != 0)
        throw StateError(path + ": " + std::strerror(errno));
    return LearnedServers(std::move(map));
}

std::optional<LearnedServers> LearnedServers::open(const std::string& directory) {
    Fd map(bpf_obj_get(path_in(directory).c_str()));
    if (!map || !has_our_layout(map)) return std::nullopt;
    return LearnedServers(std::move(map));
}

bool LearnedServers::knows(const policy::Endpoint& server) const {
    const auto value = find(map_, abi_endpoint(server));
    return value && !has_expired(*value, monotonic_ns());
}

void LearnedServers::learn(const policy::Endpoint& server, policy::Protocol protocol) {
    const flow_endpoint key = abi_endpoint(server);
    const std::uint64_t now_ns = monotonic_ns();
    const auto known = find(map_, key);
    const Learned value{.learned_ns = known ? known->learned_ns : now_ns,
                        .heard_ns = now_ns,
                        .protocol = static_cast<__u32>(protocol),
                        .unused = 0};
    bpf_map_update_elem(map_.get(), &key, &value, BPF_ANY);
}

bool LearnedServers::forget(const policy::Endpoint& server) {
    const flow_endpoint key = abi_endpoint(server);
    return bpf_map_delete_elem(map_.get(), &key) == 0;
}

std::vector<LearnedServer> LearnedServers::list() const {
    // Keys first: one that goes while we walk restarts the walk. Some more than there can be, and no further.
    std::vector<flow_endpoint> keys;
    flow_endpoint key{};
    int error = bpf_map_get_next_key(map_.get(), nullptr, &key);
    while (error == 0 && keys.size() < 2 * learned_servers_max) {
        keys.push_back(key);
        error = bpf_map_get_next_key(map_.get(), &key, &key);
    }
    std::vector<LearnedServer> servers;
    const std::uint64_t now_ns = monotonic_ns();
    for (const flow_endpoint& listed : keys) {
        const auto value = find(map_, listed);
        if (!value || has_expired(*value, now_ns) || value->protocol >= policy::protocol_words.size())
            continue;
        servers.push_back({endpoint(listed), static_cast<policy::Protocol>(value->protocol),
                           value->learned_ns, value->heard_ns});
    }
    std::ranges::sort(servers, {}, &LearnedServer::server);
    const auto repeated = std::ranges::unique(servers, {}, &LearnedServer::server);
    servers.erase(repeated.begin(), repeated.end());
    return servers;
}

}  // namespace sluice::datapath
