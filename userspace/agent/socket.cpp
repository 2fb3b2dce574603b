#include "userspace/agent/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace sluice::agent {

Socket::~Socket() {
    close();
}

bool Socket::subscribe(Subscriber* subscriber) {
    subscriber_ = subscriber;
    if (subscriber && !watched_) watched_ = reactor_.watch(*this);
    return watched_ || !subscriber;
}

void Socket::on_events(std::uint32_t events) {
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) readable = true;
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) writable = true;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) hung_up = true;
    if ((events & EPOLLERR) != 0) failed = true;
    if ((events & EPOLLPRI) != 0) urgent = true;
    if (subscriber_) subscriber_->on_ready(*this);
}

void Socket::reset() {
    if (watched_) reactor_.forget(*this);
    watched_ = false;
    reset_and_close(std::move(fd_));
}

void Socket::vanish() {
    // tcp_close() sends neither FIN nor RST for a socket under repair (net/ipv4/tcp.c, __tcp_close).
    set_option(native(), IPPROTO_TCP, TCP_REPAIR, 1);
    close();
}

void Socket::close() {
    if (watched_) reactor_.forget(*this);
    watched_ = false;
    fd_.reset();
}

void set_option(int fd, int level, int name, int value) {
    ::setsockopt(fd, level, name, &value, sizeof value);
}

void reset_and_close(datapath::Fd fd) {
    const linger abort_on_close{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &abort_on_close, sizeof abort_on_close);
}

}  // namespace sluice::agent
