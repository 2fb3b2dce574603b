#pragma once
// Splice mode `relay`: the agent carries the bytes. Always works; the floor under the other modes. A relayed
// flow is a record, not a coroutine: it hears of its two sockets from the reactor and costs nothing while
// they are silent.
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "userspace/agent/flow.h"
#include "userspace/agent/pipe_pool.h"
#include "userspace/agent/relay_direction.h"
#include "userspace/agent/socket.h"
#include "userspace/agent/sockmap_splice.h"

namespace sluice::agent {

struct RelayTimeouts {
    std::chrono::seconds idle;
    std::chrono::seconds half_close;  // counted from the last byte of the direction that is still open
};

class Relay {
  public:
    using Finish = std::function<void(std::unique_ptr<Flow>, flow_end)>;
    using Publish = std::function<void(Flow&)>;

    // Whether a flow is lent to the kernel (sockmap_splice.h), as soon as it has turned out to be a dialogue.
    enum class Lending : std::uint8_t { never, of_dialogues };

    // `sockmap` may be null: then nothing is lent.
    // `finish` receives each flow back when it has ended, with its counters final.
    Relay(asio::io_context& io, RelayTimeouts timeouts, Finish finish,
          std::unique_ptr<SockmapSplice> sockmap);
    ~Relay();

    // Takes a flow and its two connected sockets, from which nothing has been read.
    void take(std::unique_ptr<Flow> flow, SocketPtr client, SocketPtr server, Lending lending);

    void for_each_flow(const std::function<void(Flow&)>& visit);  // which may end none
    bool end(std::uint64_t flow_id, flow_end why);
    void end_all(flow_end why);
    void stop();  // after end_all: waits for nothing any more

    // Now and then: times flows out, and hands those that moved bytes to `publish`.
    void sweep(const Publish& publish);

  private:
    struct RelayedFlow;
    enum class Way : std::uint8_t { up, down };

    void pump(RelayedFlow& relayed);
    bool pump_one(RelayedFlow& relayed, Way way);
    void lend(RelayedFlow& relayed);
    static void count_turn(RelayedFlow& relayed, Way way, std::uint64_t bytes);
    bool attend(RelayedFlow& relayed);
    bool attend_one(RelayedFlow& relayed, Way way);
    bool end_if_failed(RelayedFlow& relayed);
    void count_carried(RelayedFlow& relayed);
    void look_again(RelayedFlow& relayed);
    void yield(RelayedFlow& relayed);
    void resume_yielded();
    void count_bytes(RelayedFlow& relayed);
    void close(RelayedFlow& relayed, flow_end why);

    asio::io_context& io_;
    RelayTimeouts timeouts_;
    Finish finish_;
    PipePool pipes_;
    std::unique_ptr<SockmapSplice> sockmap_;
    asio::steady_timer look_timer_;
    std::vector<std::uint64_t> waiting_;  // ids of lent flows that are to be looked at soon
    std::vector<char> buffer_;
    std::unordered_map<std::uint64_t, std::unique_ptr<RelayedFlow>> flows_;
    std::vector<std::uint64_t> yielded_;  // ids: a flow may be gone when its turn comes
};

}  // namespace sluice::agent
