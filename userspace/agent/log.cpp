#include "userspace/agent/log.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <ctime>

namespace sluice::agent {
namespace {

// Lines that come within this time are written with one system call.
constexpr std::chrono::milliseconds batch_time{5};

// Ends early when nobody can ever read the rest.
void write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = ::write(fd, text.data(), text.size());
        if (n >= 0) {
            text.remove_prefix(static_cast<std::size_t>(n));
        } else if (errno == EAGAIN) {
            pollfd entry{.fd = fd, .events = POLLOUT, .revents = 0};
            ::poll(&entry, 1, -1);
        } else if (errno != EINTR) {
            return;
        }
    }
}

}  // namespace

Log::Log(int fd) : fd_(fd), thread_([this] { run(); }) {
    ::pthread_setname_np(thread_.native_handle(), "sluice-log");
}

Log::~Log() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void Log::write(std::string_view line) {
    bool was_empty = false;
    {
        const std::lock_guard lock(mutex_);
        if (buffer_.size() + line.size() >= buffer_bytes_max) {
            lines_lost_.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        was_empty = buffer_.size() == 0;
        buffer_.append(line);
        buffer_.push_back('\n');
    }
    if (was_empty) wake_.notify_one();
}

void Log::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return stopping_ || buffer_.size() > 0; });
        if (!stopping_) wake_.wait_for(lock, batch_time, [this] { return stopping_; });
        fmt::memory_buffer batch;
        std::swap(batch, buffer_);
        const bool last = stopping_;
        lock.unlock();
        write_all(fd_, {batch.data(), batch.size()});
        lock.lock();
        if (last && buffer_.size() == 0) return;
    }
}

void Log::begin(text::JsonObject& object, std::string_view name) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    tm utc{};
    ::gmtime_r(&now.tv_sec, &utc);
    char text[sizeof "2026-01-01T00:00:00"];
    std::strftime(text, sizeof text, "%FT%T", &utc);
    object.add("time", fmt::format("{}.{:03}Z", text, now.tv_nsec / 1'000'000));
    object.add("event", name);
}

}  // namespace sluice::agent
