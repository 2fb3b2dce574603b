#pragma once
// A BPF array map (made with BPF_F_MMAPABLE) in our memory.
#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "userspace/datapath/flow_table.h"

namespace sluice::datapath {

// `count` elements of the array map `fd`, from the first; its owner unmaps them. `name` is for the error
// (StateError).
template <class T>
class MappedArray {
  public:
    MappedArray() = default;
    MappedArray(int fd, std::size_t count, int protection, const std::string& name)
        : bytes_(count * sizeof(T)) {
        void* const memory = ::mmap(nullptr, bytes_, protection, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED) throw StateError(name + ": " + std::strerror(errno));
        data_ = static_cast<T*>(memory);
    }
    MappedArray(MappedArray&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    MappedArray& operator=(MappedArray&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~MappedArray() {
        if (data_) ::munmap(data_, bytes_);
    }
    T& operator[](std::size_t index) const { return data_[index]; }
    T* operator->() const { return data_; }

  private:
    T* data_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace sluice::datapath
