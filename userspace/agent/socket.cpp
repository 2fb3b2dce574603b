#include "userspace/agent/socket.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::agent {
namespace {

bool polls(int fd, short events) {
    pollfd entry{.fd = fd, .events = events, .revents = 0};
    return ::poll(&entry, 1, 0) > 0 && (entry.revents & (events | POLLERR | POLLHUP)) != 0;
}

}  // namespace

Socket::~Socket() {
    // close(), not release(): a closing descriptor leaves epoll by itself, without a system call.
    if (waiter_) {
        boost::system::error_code ignored;
        waiter_->close(ignored);
    }
}

asio::awaitable<bool> Socket::wait(WaitFor what, Patience& patience) {
    if (patience.over()) co_return false;
    if (!waiter_) {
        const auto executor = co_await asio::this_coro::executor;
        waiter_.emplace(executor, fd_.release());
    }
    const Patience::Waiting cancellable(patience, *waiter_);
    const auto kind = what == WaitFor::readable ? Waiter::wait_read : Waiter::wait_write;
    co_await waiter_->async_wait(kind, asio::as_tuple(asio::use_awaitable));
    co_return !patience.over();
}

bool Socket::readable_now() const { return polls(native(), POLLIN); }

bool Socket::read_side_closed() const { return polls(native(), POLLRDHUP); }

datapath::Fd Socket::release() {
    if (!waiter_) return std::move(fd_);
    datapath::Fd fd(waiter_->release());
    waiter_.reset();
    return fd;
}

void Socket::reset() { reset_and_close(release()); }

void Socket::vanish() {
    // TCP_REPAIR closes in tcp_close() without FIN or RST (net/ipv4/tcp.c, "if (unlikely(tcp_sk(sk)->repair))").
    set_option(native(), IPPROTO_TCP, TCP_REPAIR, 1);
    release();
}

void set_option(int fd, int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof value); }

void reset_and_close(datapath::Fd fd) {
    const linger abort_on_close{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &abort_on_close, sizeof abort_on_close);
}

}  // namespace sluice::agent
