#pragma once
// Completion of a coroutine that has no caller: an exception that reaches it is our bug, or the end of
// memory.
#include <exception>

namespace sluice::agent {

inline void crash_on_exception(std::exception_ptr exception) {
    if (exception) std::rethrow_exception(exception);
}

}  // namespace sluice::agent
