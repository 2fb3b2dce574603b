#include "userspace/datapath/near_servers.h"

#include <bpf/bpf.h>

#include <cstring>

#include "userspace/datapath/monotonic.h"

namespace sluice::datapath {
namespace {

constexpr std::uint64_t known_for_ns = 600'000'000'000;

near_pair pair_of(const packet_tuple& client) {
    near_pair pair{};
    std::memcpy(pair.client, client.source, sizeof pair.client);
    std::memcpy(pair.server, client.destination, sizeof pair.server);
    pair.port = client.destination_port;
    return pair;
}

}  // namespace

std::optional<near_server> NearServers::read(const packet_tuple& client) const {
    const near_pair pair = pair_of(client);
    near_server server{};
    if (bpf_map_lookup_elem(map_, &pair, &server) != 0 || server.until_ns <= monotonic_ns())
        return std::nullopt;
    return server;
}

std::optional<near_server> NearServers::find(const packet_tuple& client) const {
    return read(client).and_then(
        [](const near_server& server) { return server.mss != 0 ? std::optional(server) : std::nullopt; });
}

void NearServers::learn(const packet_tuple& client, near_server server) {
    const auto known = read(client);
    if (!known || known->mss != 0) write(client, server);
}

void NearServers::shun(const packet_tuple& client) {
    write(client, {});
}

void NearServers::write(const packet_tuple& client, near_server server) {
    const near_pair pair = pair_of(client);
    server.until_ns = monotonic_ns() + known_for_ns;
    bpf_map_update_elem(map_, &pair, &server, BPF_ANY);  // else its flows get sockets
}

void NearServers::forget(const packet_tuple& client) {
    const near_pair pair = pair_of(client);
    bpf_map_delete_elem(map_, &pair);
}

}  // namespace sluice::datapath
