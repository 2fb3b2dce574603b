#pragma once
// Counts what this program allocates with `new`. To be included by one source of a program only: it replaces
// the operators, or listens to the sanitizer's, which have to stay.
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace sluice::test {

inline std::atomic<std::size_t> allocations = 0;

}  // namespace sluice::test

#if __has_feature(address_sanitizer)
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*, std::size_t),
                                                         void (*)(const volatile void*));
static const int counts_allocations = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) {
        sluice::test::allocations.fetch_add(1, std::memory_order_relaxed);
    },
    [](const volatile void*) {});
#else
static const int counts_allocations = 1;
void* operator new(std::size_t bytes) {
    sluice::test::allocations.fetch_add(1, std::memory_order_relaxed);
    if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
#endif
