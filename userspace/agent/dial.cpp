#include "userspace/agent/dial.h"

#include <boost/asio/use_awaitable.hpp>
#include <string_view>
#include <utility>

namespace sluice::agent {
namespace {

constexpr std::size_t known_max = 4096;
constexpr std::chrono::minutes known_for{10};
constexpr std::chrono::milliseconds look_interval{2};
// A client's first retransmission comes after 200 ms, and a hold ends before: what connects as slowly as this
// by a socket would not be answered in time, and what is not answered by then, a socket still can be.
constexpr std::chrono::milliseconds near{50};
constexpr std::chrono::milliseconds dial_max{100};

std::size_t hash_of(const policy::IpAddress& address) {
    const auto& bytes = address.bytes();
    return std::hash<std::string_view>{}({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace

Dialling::Dialling(asio::io_context& io, PacketMode* packet)
    : packet_(packet), timer_(io), known_(packet ? known_max : 0) {}

Dialling::Known& Dialling::place_of(const Flow& flow) {
    const std::size_t hash = hash_of(flow.source.address) * 31 + hash_of(flow.destination.address);
    return known_[(hash ^ (flow.destination.port * 0x9e37u)) % known_.size()];
}

void Dialling::learn(const Flow& flow, const PacketMode::Leg& leg) {
    if (!packet_ || !leg.is_dialled_as_is || flow.times.connected - flow.times.judged > near) return;
    place_of(flow) = {.source = flow.source.address,
                      .destination = flow.destination,
                      .until = Clock::now() + known_for,
                      .leg = leg};
}

asio::awaitable<bool> Dialling::dial(const Flow& flow, Socket& client) {
    if (!packet_) co_return false;
    Known& known = place_of(flow);
    const bool is_known = known.source == flow.source.address && known.destination == flow.destination &&
                          Clock::now() < known.until;
    if (!is_known) co_return false;
    const auto dial = packet_->dial(flow, client, known.leg);
    if (!dial) co_return false;
    // A server on the same host, or next door, has answered while its SYN was being sent.
    if (!packet_->is_over(*dial)) co_await wait_for(*dial);
    if (packet_->end(*dial)) {
        client.vanish();
        co_return true;
    }
    place_of(flow) = {};  // until a socket shows that the server is there
    co_return false;
}

asio::awaitable<void> Dialling::wait_for(const PacketMode::Dial& dial) {
    return asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
        [this, dial](auto handler) {
            waiting_.push_back({dial, Clock::now() + dial_max, std::move(handler)});
            arm();
        },
        asio::use_awaitable);
}

void Dialling::arm() {
    if (std::exchange(armed_, true)) return;
    timer_.expires_after(look_interval);
    timer_.async_wait([this](boost::system::error_code error) {
        armed_ = false;
        if (!error) look();
    });
}

void Dialling::look() {
    const auto now = Clock::now();
    std::vector<std::move_only_function<void()>> ready;
    std::erase_if(waiting_, [&](Waiting& waiting) {
        const bool over = packet_->is_over(waiting.dial) || waiting.until <= now;
        if (over) ready.push_back(std::move(waiting.resume));
        return over;
    });
    if (!waiting_.empty()) arm();
    for (auto& resume : ready)
        resume();
}

}  // namespace sluice::agent
