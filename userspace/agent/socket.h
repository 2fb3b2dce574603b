#pragma once
// One of a flow's two sockets before the splice: a descriptor that registers with the reactor only once it has to wait,
// since most sockets of a busy gateway never do.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>

#include "policy/address.h"
#include "userspace/agent/patience.h"
#include "userspace/datapath/fd.h"

namespace sluice::agent {

enum class WaitFor : std::uint8_t { readable, writable };

class Socket {
  public:
    Socket() = default;
    explicit Socket(datapath::Fd fd) : fd_(std::move(fd)) {}  // a non-blocking socket
    Socket(Socket&&) = default;
    Socket& operator=(Socket&&) = default;
    ~Socket();

    int native() const { return waiter_ ? const_cast<Waiter&>(*waiter_).native_handle() : fd_.get(); }
    explicit operator bool() const { return native() >= 0; }

    // True: ready, or in error, which the next system call tells. False: the patience is over.
    asio::awaitable<bool> wait(WaitFor what, Patience& patience);

    bool readable_now() const;
    bool read_side_closed() const;  // the peer sent FIN or RST

    // The ways out; the socket is closed afterwards.
    datapath::Fd release();  // to whoever carries the bytes from now on
    void reset();            // RST to the peer
    void vanish();           // closes without a packet: the peer hears nothing (TCP_REPAIR)

  private:
    using Waiter = asio::posix::stream_descriptor;

    datapath::Fd fd_;
    std::optional<Waiter> waiter_;  // owns the descriptor once it exists
};

void set_option(int fd, int level, int name, int value);  // errors are ignored: for options whose failure shows later
void reset_and_close(datapath::Fd fd);


}  // namespace sluice::agent
