#pragma once
// Pipes for splice(2), lent to a direction while bytes are in one. A pipe goes back empty, or not at all.
#include <cstddef>
#include <optional>
#include <vector>

#include "userspace/datapath/fd.h"

namespace sluice::agent {

struct Pipe {
    datapath::Fd read_end;
    datapath::Fd write_end;
    std::size_t bytes = 0;  // inside
};

class PipePool {
  public:
    // At most this many pipes exist at once: two descriptors each.
    static constexpr std::size_t pipes_max = 64;
    static constexpr int descriptors_max = 2 * static_cast<int>(pipes_max);

    std::optional<Pipe> borrow();  // nothing: all are lent, or the kernel has none; copy instead
    void give_back(Pipe pipe);     // one with bytes in it is closed

  private:
    std::vector<Pipe> free_;
    std::size_t existing_ = 0;
};

}  // namespace sluice::agent
