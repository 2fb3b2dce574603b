#pragma once
// A real program, started inside a namespace and never left behind: the destructor kills and reaps it, and
// the kernel kills it when the test itself dies. Start processes from a test's main thread: the kernel's part
// (PR_SET_PDEATHSIG) goes by the thread.
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/netns.h"
#include "tests/support/wait.h"

namespace sluice::test {

struct ProcessOptions {
    const Netns* netns = nullptr;  // nullptr: where the test is
    std::string input = {};        // what it reads on stdin, then end of file
    std::vector<std::pair<std::string, std::string>> environment = {};  // on top of the test's own
};

class Process {
  public:
    // Throws when it cannot be forked; a program that cannot be executed exits with 127.
    explicit Process(const std::vector<std::string>& argv, const ProcessOptions& options = {});
    ~Process();
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    pid_t pid() const { return pid_; }
    bool running();
    void signal(int number) const;
    // Exit code, 128 + signal when killed; empty when it still runs at the deadline.
    std::optional<int> wait(milliseconds deadline = deadline_default);

    // Everything that it has written so far.
    std::string out() const { return out_from(0); }
    std::string out_from(std::size_t offset) const;  // stdout without its first `offset` bytes
    std::string err() const;

    std::uint64_t resident_bytes() const;        // VmRSS
    std::uint64_t descriptors() const;           // open ones
    std::chrono::milliseconds cpu_time() const;  // user and system, of all threads

  private:
    pid_t pid_ = -1;
    int out_ = -1;  // memory files: no limit that a chatty program could block on, readable at any time
    int err_ = -1;
    std::optional<int> exit_code_;
};

struct Finished {
    int exit_code = -1;  // -1: it did not end within the deadline and was killed
    std::string out;
    std::string err;
};

Finished run_process(const std::vector<std::string>& argv, const ProcessOptions& options = {},
                     milliseconds deadline = deadline_default);

}  // namespace sluice::test
