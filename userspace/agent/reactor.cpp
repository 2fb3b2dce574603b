#include "userspace/agent/reactor.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "userspace/agent/crash.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {
namespace {

// After so many batches the worker's other business (accepting, deadlines) gets its turn.
constexpr int batches_per_turn = 16;
constexpr std::uint32_t all_events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;

}  // namespace

Reactor::Reactor(asio::io_context& io) : epoll_(io, ::epoll_create1(EPOLL_CLOEXEC)) {
    asio::co_spawn(io, run(), crash_on_exception);
}

bool Reactor::watch(Socket& socket) {
    epoll_event event{.events = all_events, .data = {.ptr = &socket}};
    return ::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_ADD, socket.native(), &event) == 0;
}

void Reactor::watch_end_only(Socket& socket) {
    epoll_event event{.events = EPOLLRDHUP | EPOLLET, .data = {.ptr = &socket}};
    ::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_MOD, socket.native(), &event);
}

void Reactor::watch_all(Socket& socket) {
    epoll_event event{.events = all_events, .data = {.ptr = &socket}};
    ::epoll_ctl(epoll_.native_handle(), EPOLL_CTL_MOD, socket.native(), &event);
}

void Reactor::forget(Socket& socket) {
    for (std::size_t i = next_; i < count_; ++i) {
        if (events_[i].data.ptr == &socket) events_[i].data.ptr = nullptr;
    }
}

void Reactor::stop() {
    epoll_.close();
}

asio::awaitable<void> Reactor::run() {
    for (;;) {
        const auto [error] = co_await epoll_.async_wait(asio::posix::stream_descriptor::wait_read,
                                                        asio::as_tuple(asio::use_awaitable));
        if (error) co_return;
        for (int batch = 0; batch < batches_per_turn && process_batch(); ++batch) {
        }
    }
}

bool Reactor::process_batch() {
    const int n = ::epoll_wait(epoll_.native_handle(), events_.data(), events_per_batch, 0);
    count_ = n > 0 ? static_cast<std::size_t>(n) : 0;
    for (next_ = 0; next_ < count_;) {
        const epoll_event event = events_[next_++];
        if (event.data.ptr) static_cast<Socket*>(event.data.ptr)->on_events(event.events);
    }
    return count_ == events_per_batch;
}

}  // namespace sluice::agent
