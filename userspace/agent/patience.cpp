#include "userspace/agent/patience.h"

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "userspace/agent/flow.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

void Deadlines::arm(Clock::time_point time) {
    if (stopped_ || time >= armed_) return;
    armed_ = time;
    timer_.expires_at(time);
    timer_.async_wait([this](boost::system::error_code error) {
        if (!error) on_timer();
    });
}

void Deadlines::on_timer() {
    armed_ = Clock::time_point::max();
    const auto now = Clock::now();
    while (!by_time_.empty() && by_time_.begin()->first <= now) {
        Patience& patience = *by_time_.begin()->second;
        by_time_.erase(by_time_.begin());
        patience.position_ = by_time_.emplace(Clock::time_point::max(), &patience);
        patience.expired_ = true;
        patience.wake_later();
    }
    if (!by_time_.empty()) arm(by_time_.begin()->first);
}

bool Deadlines::end(std::uint64_t flow_id, flow_end why) {
    for (auto& [time, patience] : by_time_) {
        if (patience->flow().id != flow_id) continue;
        patience->end(why);
        return true;
    }
    return false;
}

void Deadlines::stop() {
    for (auto& [time, patience] : by_time_)
        patience->end(FLOW_END_stopped);
    stopped_ = true;
    timer_.cancel();
}

Patience::Patience(Deadlines& deadlines, Flow& flow)
    : deadlines_(deadlines),
      flow_(flow),
      position_(deadlines.by_time_.emplace(Clock::time_point::max(), this)) {}

Patience::~Patience() {
    deadlines_.by_time_.erase(position_);
}

void Patience::last_until(Clock::time_point deadline) {
    expired_ = false;
    auto node = deadlines_.by_time_.extract(position_);
    node.key() = deadline;
    position_ = deadlines_.by_time_.insert(std::move(node));
    deadlines_.arm(deadline);
}

template <typename Condition>
asio::awaitable<bool> Patience::until(Condition holds, Socket& one, Socket& other) {
    if (!one.subscribe(this) || !other.subscribe(this)) co_return false;
    while (!holds() && !over())
        co_await sleep();
    one.subscribe(nullptr);
    other.subscribe(nullptr);
    co_return !over();
}

asio::awaitable<bool> Patience::readable(Socket& socket) {
    return until([&socket] { return socket.readable; }, socket, socket);
}

asio::awaitable<bool> Patience::either_readable(Socket& one, Socket& other) {
    return until([&one, &other] { return one.readable || other.readable; }, one, other);
}

asio::awaitable<bool> Patience::readable_or_failed(Socket& readable, Socket& failed) {
    return until([&readable, &failed] { return readable.readable || failed.failed; }, readable, failed);
}

asio::awaitable<bool> Patience::writable_or_failed(Socket& writable, Socket& failed) {
    return until([&writable, &failed] { return writable.writable || failed.failed; }, writable, failed);
}

asio::awaitable<bool> Patience::told(const bool& flag, Socket& failed) {
    co_await until([&flag, &failed] { return flag || failed.failed; }, failed, failed);
    co_return flag;
}

void Patience::wake() {
    if (resume_) std::exchange(resume_, nullptr)();
}

asio::awaitable<void> Patience::sleep() {
    return asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
        [this](auto handler) { resume_ = std::move(handler); }, asio::use_awaitable);
}

void Patience::on_ready(Socket&) {
    wake();
}

void Patience::end(flow_end why) {
    if (ended()) return;
    ended_ = why;
    wake_later();
}

// Not at once: whoever ends flows is walking the list that the flow's end shortens.
void Patience::wake_later() {
    if (resume_) asio::post(deadlines_.io_, std::exchange(resume_, nullptr));
}

}  // namespace sluice::agent
