#pragma once
// Splice mode `relay`: the agent carries the bytes. Always works; the floor under the other modes.
//
// A relayed flow is a record in this worker's own epoll set, not a coroutine: edge-triggered, one epoll_ctl per leg for
// its whole life. The set itself is watched by the worker's io_context.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "userspace/agent/flow.h"
#include "userspace/agent/pipe_pool.h"
#include "userspace/agent/relay_direction.h"
#include "userspace/datapath/fd.h"

namespace sluice::agent {

struct RelayTimeouts {
    std::chrono::seconds idle;
    std::chrono::seconds half_close;  // counted from the last byte of the direction that is still open
};

class Relay {
  public:
    using Finish = std::function<void(std::unique_ptr<Flow>, flow_end)>;
    using Publish = std::function<void(Flow&)>;

    // `finish` receives each flow back when it has ended, with its counters final.
    Relay(asio::io_context& io, RelayTimeouts timeouts, Finish finish);
    ~Relay();

    // Takes a flow and its two connected sockets, from which nothing has been read. False: the kernel has no room in
    // the epoll set; nothing was touched.
    bool take(std::unique_ptr<Flow>& flow, datapath::Fd& client, datapath::Fd& server);

    bool end(std::uint64_t flow_id, flow_end why);
    void end_all(flow_end why);
    void stop();  // no more events are waited for

    // Once a second: times flows out, and hands those that moved bytes to `publish`.
    void sweep(const Publish& publish);

    std::size_t size() const { return flows_.size(); }
    std::uint64_t bytes_up() const { return bytes_up_; }
    std::uint64_t bytes_down() const { return bytes_down_; }

  private:
    struct RelayedFlow;

    asio::awaitable<void> run();
    std::size_t process_events();
    void process_yielded();
    void pump(RelayedFlow& relayed);
    bool pump_direction(RelayedFlow& relayed, bool up);
    void close(RelayedFlow& relayed, flow_end why);
    void count_packets(RelayedFlow& relayed);

    RelayTimeouts timeouts_;
    Finish finish_;
    asio::posix::stream_descriptor epoll_;
    PipePool pipes_;
    std::vector<char> buffer_;
    std::unordered_map<std::uint64_t, std::unique_ptr<RelayedFlow>> flows_;
    std::vector<RelayedFlow*> yielded_;
    std::vector<std::unique_ptr<RelayedFlow>> closed_;  // kept until no event of this batch can name them
    Clock::time_point now_;
    std::uint64_t bytes_up_ = 0;
    std::uint64_t bytes_down_ = 0;
};

}  // namespace sluice::agent
