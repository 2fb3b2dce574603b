#include "userspace/agent/log.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>

namespace sluice::agent {
namespace {

// Lines that come within this time are written with one system call.
constexpr std::chrono::milliseconds batch_time{5};
// A pipe that polls writable takes at least this much without blocking (PIPE_BUF).
constexpr std::size_t piece_bytes = 4096;
// A stuck reader holds the agent's end up for no longer than this.
constexpr std::chrono::milliseconds stop_patience{500};
constexpr int poll_ms = 50;

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

// What cannot be written, since the reader is gone or, at the end, stuck, is counted as lost.
void Log::write_out(std::string_view text) {
    auto deadline = std::chrono::steady_clock::time_point::max();
    while (!text.empty()) {
        if (stopping_ && deadline == std::chrono::steady_clock::time_point::max()) {
            deadline = std::chrono::steady_clock::now() + stop_patience;
        }
        pollfd entry{.fd = fd_, .events = POLLOUT, .revents = 0};
        const bool ready = ::poll(&entry, 1, poll_ms) > 0;
        const ssize_t n = ready ? ::write(fd_, text.data(), std::min(text.size(), piece_bytes)) : 0;
        if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
        const bool gone = n < 0 && errno != EAGAIN && errno != EINTR;
        if (gone || std::chrono::steady_clock::now() >= deadline) break;
    }
    lines_lost_.fetch_add(static_cast<std::uint64_t>(std::ranges::count(text, '\n')),
                          std::memory_order_relaxed);
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
        if (!stopping_) wake_.wait_for(lock, batch_time, [this] { return stopping_.load(); });
        fmt::memory_buffer batch;
        std::swap(batch, buffer_);
        const bool last = stopping_.load();
        lock.unlock();
        write_out({batch.data(), batch.size()});
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
