#pragma once
// A worker's sockets, watched: one edge-triggered epoll set, in which a socket is registered once for its
// whole life, from its first wait through the splice to its end. The set itself is watched by the worker's
// io_context.
//
// Why not asio's own: there each wait costs an epoll_ctl, and a socket that passes from coroutine to splice
// must leave one set and enter another: five calls a flow where two do.
#include <sys/epoll.h>

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>

namespace sluice::agent {

namespace asio = boost::asio;
class Socket;

// Whoever a socket's news concern at present: a coroutine that waits, or the splice.
class Subscriber {
  public:
    virtual void on_ready(Socket& socket) = 0;  // its flags have been updated; may destroy it

  protected:
    ~Subscriber() = default;
};

class Reactor {
  public:
    explicit Reactor(asio::io_context& io);

    bool watch(Socket& socket);           // false: the kernel has no room
    void watch_end_only(Socket& socket);  // FIN and errors: bytes do not even wake this thread
    void watch_all(Socket& socket);       // again; what holds at the moment is reported as an edge
    void forget(Socket& socket);          // about to be closed: no event names it from now on
    void stop();

  private:
    static constexpr int events_per_batch = 256;

    asio::awaitable<void> run();
    bool process_batch();

    asio::posix::stream_descriptor epoll_;
    std::array<epoll_event, events_per_batch> events_{};
    std::size_t next_ = 0;  // of the batch in progress
    std::size_t count_ = 0;
};

}  // namespace sluice::agent
