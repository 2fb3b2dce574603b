#pragma once
// How long a flow's setup may wait, and who else may end it. A Patience belongs to one coroutine, and that
// coroutine waits through it: for a socket, until a deadline, or until somebody ends the flow (kill, stop).
//
// Not one asio timer per flow: a timer's handler may already be queued when its flow is gone. Here nothing
// outlives the Patience, and a timer is re-armed only when a deadline comes before all others.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>

#include "bpf/flow_abi.h"
#include "userspace/agent/reactor.h"

namespace sluice::agent {

using Clock = std::chrono::steady_clock;

class Flow;
class Patience;

// All patiences of one worker, by deadline. Not thread-safe: its io_context's thread only.
class Deadlines {
  public:
    explicit Deadlines(asio::io_context& io) : io_(io), timer_(io) {}

    // Ends the setup of the flow with this id. False: no such flow here.
    bool end(std::uint64_t flow_id, flow_end why);
    void stop();  // ends all, and arms no timer any more

    template <typename F>
    void for_each_flow(F&& visit) {
        for (auto& [time, patience] : by_time_)
            visit(*patience);
    }

  private:
    friend class Patience;
    using ByTime = std::multimap<Clock::time_point, Patience*>;

    void arm(Clock::time_point time);
    void on_timer();

    asio::io_context& io_;
    asio::steady_timer timer_;
    ByTime by_time_;
    Clock::time_point armed_ = Clock::time_point::max();
    bool stopped_ = false;
};

class Patience final : private Subscriber {
  public:
    Patience(Deadlines& deadlines, Flow& flow);
    ~Patience();
    Patience(const Patience&) = delete;
    Patience& operator=(const Patience&) = delete;

    void last_until(Clock::time_point deadline);  // a new deadline; also makes an expired one good again
    bool over() const { return expired_ || ended(); }
    bool ended() const { return ended_ != FLOW_END_live; }  // by kill or stop: the flow must go, now
    flow_end ended_by() const { return ended_; }
    Flow& flow() { return flow_; }
    void end(flow_end why);  // once: a second reason is not heard

    // Until a socket's flag is set. False: the patience is over.
    asio::awaitable<bool> readable(Socket& socket);
    asio::awaitable<bool> either_readable(Socket& one, Socket& other);
    asio::awaitable<bool> readable_or_failed(Socket& readable, Socket& failed);
    asio::awaitable<bool> writable_or_failed(Socket& writable, Socket& failed);  // one may be the other
    // Until somebody has set the flag, and then called wake(). False also: the socket has failed.
    asio::awaitable<bool> told(const bool& flag, Socket& failed);
    void wake();  // the coroutine, if it waits; on this thread

  private:
    friend class Deadlines;

    template <typename Condition>
    asio::awaitable<bool> until(Condition holds, Socket& one, Socket& other);
    void on_ready(Socket& socket) override;
    asio::awaitable<void> sleep();
    void wake_later();

    Deadlines& deadlines_;
    Flow& flow_;
    Deadlines::ByTime::iterator position_;
    std::move_only_function<void()> resume_;  // of the sleeping coroutine
    bool expired_ = false;
    flow_end ended_ = FLOW_END_live;
};

}  // namespace sluice::agent
