#pragma once
// The log: one JSON object a line, on a descriptor whose reader may be slow or stuck. Workers only append to
// a buffer in memory; a thread of its own writes. When the reader cannot follow, lines are dropped and
// counted: no flow ever waits.
#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <thread>

#include "userspace/text/json.h"

namespace sluice::agent {

class Flow;

class Log {
  public:
    explicit Log(int fd);
    ~Log();  // writes what is left
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    // Thread-safe. `line` without its newline.
    void write(std::string_view line);
    std::uint64_t lines_lost() const { return lines_lost_.load(std::memory_order_relaxed); }

    // {"time":...,"event":EVENT, then what `fill` adds}
    template <typename Fill>
    void event(std::string_view name, Fill&& fill) {
        fmt::memory_buffer line;
        {
            text::JsonObject object(line);
            begin(object, name);
            fill(object);
        }
        write({line.data(), line.size()});
    }

  private:
    static constexpr std::size_t buffer_bytes_max = 4 << 20;

    static void begin(text::JsonObject& object, std::string_view name);
    void run();
    void write_out(std::string_view text);

    int fd_;
    std::mutex mutex_;
    std::condition_variable wake_;
    fmt::memory_buffer buffer_;
    std::atomic<bool> stopping_ = false;
    std::atomic<std::uint64_t> lines_lost_ = 0;
    std::thread thread_;
};

}  // namespace sluice::agent
