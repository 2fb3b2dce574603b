#pragma once
// Splice mode `sockmap`: the kernel carries a flow's bytes from one socket to the other, and the agent
// sleeps. The relay stays the flow's owner, so that the ends of flows exist only once: when a flow has turned
// out to be a dialogue, it lends both sockets to the kernel for the rest of their lives, and is woken by FIN,
// errors, and bytes that the kernel has passed instead of carrying, since the receiver is slower than the
// sender. It relays these, and the program
// goes on by itself when all of them are through.
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "userspace/agent/socket.h"
#include "userspace/datapath/sockmap.h"

namespace sluice::agent {

using Side = datapath::Sockmap::Side;  // of the sender: `client` means the direction up

// One flow in the kernel's hands. Counts are of bytes since it was lent.
class SockmapFlow {
  public:
    ~SockmapFlow();
    SockmapFlow(const SockmapFlow&) = delete;
    SockmapFlow& operator=(const SockmapFlow&) = delete;

    bool broken() const;            // bytes are lost or doubled: the flow must be reset
    bool plain(Side side) const;    // this side is not in the kernel's hands: a socket like any other
    bool passing(Side side) const;  // there are passed bytes that have not been consumed
    // Whether the other socket has taken all bytes of this side that were redirected, and the `consumed`
    // ones.
    bool drained(Side side, std::uint64_t consumed) const;
    // Passed bytes wait where they hold up what this side is to be sent: read on, though nobody takes them.
    bool stray(Side side) const;
    void consume(Side side, std::uint64_t consumed);  // by now: read and written by the agent
    void listen();                                    // what happens from now on is told of
    std::uint64_t progress(Side side);                // bytes carried by the kernel since it was last asked

  private:
    friend class SockmapSplice;
    SockmapFlow(datapath::Sockmap& map, std::vector<std::uint64_t>& owners, datapath::Sockmap::Inserted in)
        : map_(map), owners_(owners), pair_(in.pair), server_is_plain_(in.plain) {}

    datapath::Sockmap& map_;
    std::vector<std::uint64_t>& owners_;
    datapath::Sockmap::Pair pair_;
    bool server_is_plain_;
    std::array<Socket*, 2> sockets_{};
    std::array<std::uint64_t, 2> written_before_{};
    std::array<std::uint64_t, 2> reported_{};
};

class SockmapSplice {
  public:
    using OnNews = std::function<void(std::uint64_t flow_id)>;

    // For so many flows at once. Throws datapath::SockmapError.
    SockmapSplice(asio::io_context& io, std::uint32_t flows_max);
    void on_news(OnNews on_news);  // of a flow that has passed bytes
    void stop() { events_.close(); }

    // Nothing: the kernel does not take these sockets; they are as before. The agent holds no byte of the
    // flow, and from now on reads only what was passed.
    std::unique_ptr<SockmapFlow> carry(std::uint64_t flow_id, Socket& client, Socket& server);

  private:
    void wait_for_news();

    datapath::Sockmap map_;
    asio::posix::stream_descriptor events_;
    std::vector<std::uint64_t> owners_;  // flow id by pair; 0: none
    OnNews on_news_;
};

}  // namespace sluice::agent
