#include "userspace/agent/sockmap_splice.h"

#include <unistd.h>

#include <utility>

namespace sluice::agent {
namespace {

constexpr std::array sides{Side::client, Side::server};

Side other(Side side) {
    return side == Side::client ? Side::server : Side::client;
}

}  // namespace

SockmapFlow::~SockmapFlow() {
    owners_[pair_] = 0;
    map_.remove(pair_);
}

bool SockmapFlow::broken() const {
    return map_.leg(pair_, Side::client).state == SOCKMAP_LEG_broken ||
           map_.leg(pair_, Side::server).state == SOCKMAP_LEG_broken;
}

bool SockmapFlow::plain(Side side) const {
    return side == Side::server && server_is_plain_;
}

bool SockmapFlow::passing(Side side) const {
    const auto& leg = map_.leg(pair_, side);
    return leg.passed != leg.consumed;
}

bool SockmapFlow::drained(Side side, std::uint64_t consumed) const {
    const std::uint64_t redirected = map_.leg(pair_, side).redirected;
    if (redirected == 0) return true;
    const Side to = other(side);
    const auto written = datapath::bytes_written(sockets_[to]->native());
    return written && *written - written_before_[to] == redirected + consumed;
}

bool SockmapFlow::stray(Side side) const {
    return map_.leg(pair_, side).stray > 0;
}

void SockmapFlow::consume(Side side, std::uint64_t consumed) {
    map_.consume(pair_, side, consumed);
}

void SockmapFlow::listen() {
    for (const Side side : sides)
        map_.listen(pair_, side);
}

std::uint64_t SockmapFlow::progress(Side side) {
    const std::uint64_t redirected = map_.leg(pair_, side).redirected;
    return redirected - std::exchange(reported_[side], redirected);
}

SockmapSplice::SockmapSplice(asio::io_context& io, std::uint32_t flows_max)
    : map_(flows_max), events_(io, ::dup(map_.events_fd())), owners_(map_.pairs()) {}

void SockmapSplice::on_news(OnNews on_news) {
    on_news_ = std::move(on_news);
    wait_for_news();
}

void SockmapSplice::wait_for_news() {
    events_.async_wait(asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
        if (error) return;
        map_.read_events([this](datapath::Sockmap::Pair pair) {
            if (pair < owners_.size() && owners_[pair] != 0) on_news_(owners_[pair]);
        });
        wait_for_news();
    });
}

std::unique_ptr<SockmapFlow> SockmapSplice::carry(std::uint64_t flow_id, Socket& client, Socket& server) {
    const std::array<Socket*, 2> sockets{&client, &server};
    std::array<std::uint64_t, 2> written{};
    for (const Side side : sides) {
        const auto now = datapath::bytes_written(sockets[side]->native());
        if (!now) return nullptr;
        written[side] = *now;
    }
    const auto inserted = map_.insert(client.native(), server.native());
    if (!inserted) return nullptr;
    std::unique_ptr<SockmapFlow> flow(new SockmapFlow(map_, owners_, *inserted));
    flow->sockets_ = sockets;
    flow->written_before_ = written;
    owners_[inserted->pair] = flow_id;
    return flow;
}

}  // namespace sluice::agent
