// The relay's flows in the hands of the kernel (splice mode `sockmap`): lent, watched, and helped out where
// the kernel passes bytes instead of carrying them.
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <utility>

#include "userspace/agent/relayed_flow.h"

namespace sluice::agent {
namespace {

// A flow is lent when its sides have taken so many turns: it lasts, as if to be worth the twenty system calls
// that this costs, and it is none of the transfers that splice(2) carries faster. It cannot be taken back, so
// a long turn sets it back to the start.
constexpr unsigned turns_before_lending = 8;
constexpr std::uint64_t long_turn_bytes = RelayDirection::chunk_bytes;

// Nothing tells when a socket has taken what was redirected to it: it is asked at this interval, so many
// times. After that its buffer is full, and an edge comes when it is not; the sweep looks, too.
constexpr std::chrono::milliseconds look_interval{1};
constexpr unsigned looks_max = 20;

// When it returns, every segment that came before has been through the program: it takes the socket's lock.
void wait_for_program(const Socket& socket) {
    tcp_info info{};
    socklen_t size = sizeof info;
    ::getsockopt(socket.native(), IPPROTO_TCP, TCP_INFO, &info, &size);
}

}  // namespace

void Relay::count_turn(RelayedFlow& relayed, Way way, std::uint64_t bytes) {
    if (relayed.turn_of != way) {
        relayed.turn_of = way;
        relayed.turn_bytes = 0;
        ++relayed.turns;
    }
    relayed.turn_bytes += bytes;
    if (relayed.turn_bytes > long_turn_bytes) relayed.turns = 0;
}

void Relay::lend(RelayedFlow& relayed) {
    if (relayed.turns < turns_before_lending) return;
    if (relayed.yielded || !relayed.up.empty() || !relayed.down.empty()) return;
    if (relayed.up.finished() || relayed.down.finished()) return;
    Flow& flow = *relayed.flow;
    relayed.lending = Lending::never;  // it is tried once
    relayed.sockmap = sockmap_->carry(flow.id, *relayed.client, *relayed.server);
    if (!relayed.sockmap) {
        flow.reason = SPLICE_REASON_sockmap_refused;
        return pump(relayed);
    }
    relayed.not_relayed = {relayed.up.bytes(), relayed.down.bytes()};
    relayed.up.set_in_sockmap(true);
    relayed.down.set_in_sockmap(!relayed.sockmap->plain(Side::server));
    relayed.awake = true;
    attend(relayed);
}

// False: the flow is closed.
bool Relay::attend(RelayedFlow& relayed) {
    relayed.sockmap->listen();
    relayed.waits = false;
    count_carried(relayed);
    if (relayed.sockmap->broken()) {
        close(relayed, FLOW_END_splice_failed);
        return false;
    }
    if (end_if_failed(relayed)) return false;
    if (!attend_one(relayed, Way::up) || !attend_one(relayed, Way::down)) return false;
    if (relayed.up.finished() && relayed.down.finished()) {
        close(relayed, FLOW_END_closed);
        return false;
    }
    const bool carried = !relayed.sockmap->passing(Side::client) && !relayed.sockmap->passing(Side::server) &&
                         relayed.up.empty() && relayed.down.empty();
    relayed.flow->mode = carried ? SPLICE_MODE_sockmap : SPLICE_MODE_relay;
    relayed.flow->reason = carried ? relayed.reason_of_choice : SPLICE_REASON_backlog;
    if (relayed.waits) look_again(relayed);
    const bool awake = !carried || relayed.waits || relayed.sockmap->plain(Side::server);
    if (std::exchange(relayed.awake, awake) == awake) return true;
    for (Socket* socket : {relayed.client.get(), relayed.server.get()})
        awake ? socket->hear_of_all() : socket->hear_of_end_only();
    return true;
}

// One direction: what was passed is relayed, behind what was redirected; after the FIN, its end. False: the
// flow is closed.
bool Relay::attend_one(RelayedFlow& relayed, Way way) {
    const bool up = way == Way::up;
    const Side side = up ? Side::client : Side::server;
    RelayDirection& direction = up ? relayed.up : relayed.down;
    Socket& from = up ? *relayed.client : *relayed.server;
    Socket& to = up ? *relayed.server : *relayed.client;
    SockmapFlow& sockmap = *relayed.sockmap;
    if (direction.finished()) return true;
    if (sockmap.plain(side)) return pump_one(relayed, way);
    if (from.hung_up) wait_for_program(from);
    const auto drained = [&] { return sockmap.drained(side, direction.bytes() - relayed.not_relayed[side]); };
    if (sockmap.passing(side) || !direction.empty()) {
        relayed.waits |= direction.empty() && !drained();
        if (relayed.waits) return true;
        from.readable = to.writable = true;  // asleep, their edges were not heard
        if (!pump_one(relayed, way)) return false;
        if (!direction.empty() && sockmap.stray(side)) direction.absorb(from, buffer_);
        if (direction.empty()) sockmap.consume(side, direction.bytes() - relayed.not_relayed[side]);
        relayed.waits |= direction.empty() && sockmap.passing(side) && !relayed.yielded;
        return true;
    }
    if (!from.hung_up) return true;
    count_carried(relayed);
    if (!drained()) {
        relayed.waits = true;
        return true;
    }
    direction.finish();
    // The last FIN of a flow is sent by its close.
    if (!(up ? relayed.down : relayed.up).finished()) ::shutdown(to.native(), SHUT_WR);
    return true;
}

// A reset is passed on at once; only what came before it may still reach the other socket. True: the flow is
// closed.
bool Relay::end_if_failed(RelayedFlow& relayed) {
    if (!relayed.client->failed && !relayed.server->failed) return false;
    const bool by_client = relayed.client->failed;
    const Side from = by_client ? Side::client : Side::server;
    const RelayDirection& direction = by_client ? relayed.up : relayed.down;
    wait_for_program(by_client ? *relayed.client : *relayed.server);
    const bool on_its_way = !direction.finished() && !relayed.sockmap->passing(from) &&
                            !relayed.sockmap->drained(from, direction.bytes() - relayed.not_relayed[from]);
    relayed.waits = on_its_way && relayed.looks < looks_max;
    if (relayed.waits) return false;
    count_carried(relayed);
    close(relayed, by_client ? FLOW_END_client_reset : FLOW_END_server_reset);
    return true;
}

void Relay::count_carried(RelayedFlow& relayed) {
    const std::uint64_t up = relayed.sockmap->progress(Side::client);
    const std::uint64_t down = relayed.sockmap->progress(Side::server);
    if (up + down == 0) return;
    relayed.up.add_carried(up);
    relayed.down.add_carried(down);
    relayed.not_relayed[Side::client] += up;
    relayed.not_relayed[Side::server] += down;
    relayed.flow->times.active = Clock::now();
    relayed.moved = true;
    relayed.looks = 0;
}

void Relay::look_again(RelayedFlow& relayed) {
    if (relayed.looks >= looks_max || relayed.listed_waiting) return;
    ++relayed.looks;
    relayed.listed_waiting = true;
    waiting_.push_back(relayed.flow->id);
    if (waiting_.size() > 1) return;
    look_timer_.expires_after(look_interval);
    look_timer_.async_wait([this](boost::system::error_code error) {
        if (error) return;
        for (const std::uint64_t id : std::exchange(waiting_, {})) {
            const auto position = flows_.find(id);
            if (position == flows_.end()) continue;
            position->second->listed_waiting = false;
            pump(*position->second);
        }
    });
}

}  // namespace sluice::agent
