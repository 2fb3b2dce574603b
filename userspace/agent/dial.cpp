#include "userspace/agent/dial.h"

#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace sluice::agent {
namespace {

constexpr std::chrono::milliseconds look_interval{2};
// A client's first retransmission comes after 200 ms, and a hold ends before: what is not answered by then, a
// socket still can be.
constexpr std::chrono::milliseconds dial_max{100};

}  // namespace

Dialling::Dialling(asio::io_context& io, PacketMode* packet) : packet_(packet), timer_(io) {}

asio::awaitable<bool> Dialling::outcome(const Flow& flow, PacketMode::Dial dial) {
    if (!packet_->is_over(dial)) co_await wait_for(dial);
    co_return end(flow, dial);
}

std::optional<bool> Dialling::outcome_so_far(const Flow& flow, const PacketMode::Dial& dial) {
    if (!packet_->is_over(dial)) return std::nullopt;
    return end(flow, dial);
}

bool Dialling::end(const Flow& flow, const PacketMode::Dial& dial) {
    const bool spliced = packet_->end(dial);
    if (!spliced) packet_->forget_server(flow);
    return spliced;
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
