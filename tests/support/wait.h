#pragma once
// Waiting on a condition, never on time: a test that sleeps is slow where the machine is fast and wrong where
// it is slow.
#include <chrono>
#include <thread>

namespace sluice::test {

using std::chrono::milliseconds;
using namespace std::chrono_literals;

// Generous: it is only ever reached by a test that fails (or by one under a sanitizer on a busy machine).
inline constexpr milliseconds deadline_default = 20s;

// Asks `condition` every 5 ms until it holds; its last answer.
template <class Condition>
bool wait_until(Condition&& condition, milliseconds deadline = deadline_default) {
    const auto end = std::chrono::steady_clock::now() + deadline;
    while (!condition()) {
        if (std::chrono::steady_clock::now() >= end) return static_cast<bool>(condition());
        std::this_thread::sleep_for(5ms);
    }
    return true;
}

}  // namespace sluice::test
