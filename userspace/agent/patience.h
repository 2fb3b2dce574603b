#pragma once
// How long a flow's setup may wait, and who else may end it. A Patience belongs to one coroutine; every wait of that
// coroutine names it. It runs out at a deadline, or when somebody ends it (kill, stop), and then cancels the wait.
//
// Not one asio timer per flow: a timer's handler may already be queued when its flow is gone. Here nothing outlives
// the Patience, and a timer is re-armed only when a deadline comes before all others.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>

#include "bpf/flow_abi.h"

namespace sluice::agent {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

class Flow;
class Patience;

// All patiences of one worker, by deadline. Not thread-safe: its io_context's thread only.
class Deadlines {
  public:
    explicit Deadlines(asio::io_context& io) : timer_(io) {}

    // Ends the setup of the flow with this id. False: no such flow here.
    bool end(std::uint64_t flow_id, flow_end why);
    void stop();  // ends all, and arms no timer any more

    template <typename F>
    void for_each_flow(F&& visit) {
        for (auto& [time, patience] : by_time_) visit(*patience);
    }
    bool empty() const { return by_time_.empty(); }

  private:
    friend class Patience;
    using ByTime = std::multimap<Clock::time_point, Patience*>;

    void end_all(flow_end why);
    void arm(Clock::time_point time);
    void on_timer();

    asio::steady_timer timer_;
    ByTime by_time_;
    Clock::time_point armed_ = Clock::time_point::max();
    bool stopped_ = false;
};

class Patience {
  public:
    Patience(Deadlines& deadlines, Flow& flow);
    ~Patience();
    Patience(const Patience&) = delete;
    Patience& operator=(const Patience&) = delete;

    void wait_until(Clock::time_point deadline);  // a new deadline; also makes an expired one good again
    bool expired() const { return expired_; }
    bool ended() const { return ended_ != FLOW_END_live; }  // by kill or stop: the flow must go, now
    bool over() const { return expired_ || ended(); }
    flow_end ended_by() const { return ended_; }
    Flow& flow() { return flow_; }

    // Registers a descriptor's wait for as long as it lives, so that it can be cancelled.
    class Waiting {
      public:
        Waiting(Patience& patience, asio::posix::stream_descriptor& waiter);
        ~Waiting();
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;

      private:
        Patience& patience_;
        std::size_t slot_;
    };

  private:
    friend class Deadlines;
    void end(flow_end why);
    void cancel_waits();

    Deadlines& deadlines_;
    Flow& flow_;
    Deadlines::ByTime::iterator position_;
    bool expired_ = false;
    flow_end ended_ = FLOW_END_live;
    std::array<asio::posix::stream_descriptor*, 2> waiting_{};  // both legs at most
};

}  // namespace sluice::agent
