#pragma once
// One of a flow's two TCP sockets, from accept or connect to its end, and what the kernel has told of it.
// Registers with the reactor only once somebody has to wait, since most clients of a busy gateway have spoken
// before they are accepted.
#include <cstdint>
#include <memory>

#include "userspace/agent/reactor.h"
#include "userspace/datapath/fd.h"

namespace sluice::agent {

class Socket {
  public:
    Socket(Reactor& reactor, datapath::Fd fd)
        : reactor_(reactor), fd_(std::move(fd)) {}  // `fd` is non-blocking
    ~Socket();
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;

    // Edge-triggered: true from the kernel's word on, until whoever reads or writes meets EAGAIN and says so
    // here.
    bool readable = false;
    bool writable = false;
    bool hung_up = false;  // FIN or an error has arrived: read on until recv() tells which
    bool failed = false;   // an error has: the connection is gone, though bytes may wait to be read
    bool urgent = false;   // urgent data has: each read stops at its mark, so a short one proves nothing

    int native() const { return fd_.get(); }

    // From now on `subscriber` hears of this socket (nullptr: nobody). False: no room in the reactor.
    bool subscribe(Subscriber* subscriber);
    void on_events(std::uint32_t events);  // for the reactor
    // While the kernel carries its bytes, nobody here is to be woken by them.
    void hear_of_end_only() { reactor_.watch_end_only(*this); }
    void hear_of_all() { reactor_.watch_all(*this); }

    // The socket is closed afterwards.
    void reset();   // RST to the peer
    void vanish();  // without a packet: the peer hears nothing (TCP_REPAIR)
    void close();   // FIN, or RST when bytes are unread

  private:
    Reactor& reactor_;
    datapath::Fd fd_;
    Subscriber* subscriber_ = nullptr;
    bool watched_ = false;
};

using SocketPtr = std::unique_ptr<Socket>;  // an address that the reactor can keep

void set_option(int fd, int level, int name,
                int value);  // errors are ignored: for options whose failure shows later
void reset_and_close(datapath::Fd fd);

}  // namespace sluice::agent
