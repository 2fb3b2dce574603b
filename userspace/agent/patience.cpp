#include "userspace/agent/patience.h"

#include <cassert>

#include "userspace/agent/flow.h"

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
        patience.cancel_waits();
    }
    if (!by_time_.empty() && by_time_.begin()->first != Clock::time_point::max()) arm(by_time_.begin()->first);
}

bool Deadlines::end(std::uint64_t flow_id, flow_end why) {
    for (auto& [time, patience] : by_time_) {
        if (patience->flow().id != flow_id) continue;
        patience->end(why);
        return true;
    }
    return false;
}

void Deadlines::end_all(flow_end why) {
    for (auto& [time, patience] : by_time_) patience->end(why);
}

void Deadlines::stop() {
    end_all(FLOW_END_stopped);
    stopped_ = true;
    timer_.cancel();
}

Patience::Patience(Deadlines& deadlines, Flow& flow)
    : deadlines_(deadlines), flow_(flow), position_(deadlines.by_time_.emplace(Clock::time_point::max(), this)) {}

Patience::~Patience() { deadlines_.by_time_.erase(position_); }

void Patience::wait_until(Clock::time_point deadline) {
    expired_ = false;
    deadlines_.by_time_.erase(position_);
    position_ = deadlines_.by_time_.emplace(deadline, this);
    deadlines_.arm(deadline);
}

void Patience::end(flow_end why) {
    if (ended()) return;
    ended_ = why;
    cancel_waits();
}

void Patience::cancel_waits() {
    for (auto* waiter : waiting_) {
        if (waiter) waiter->cancel();
    }
}

Patience::Waiting::Waiting(Patience& patience, asio::posix::stream_descriptor& waiter)
    : patience_(patience), slot_(patience.waiting_[0] ? 1 : 0) {
    assert(!patience_.waiting_[slot_]);
    patience_.waiting_[slot_] = &waiter;
}

Patience::Waiting::~Waiting() { patience_.waiting_[slot_] = nullptr; }

}  // namespace sluice::agent
