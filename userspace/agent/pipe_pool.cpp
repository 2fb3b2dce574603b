#include "userspace/agent/pipe_pool.h"

#include <fcntl.h>

#include <utility>

namespace sluice::agent {
namespace {

// A slot holds one page fragment of an skb: 256 slots take what a busy socket has to give in one call.
constexpr int pipe_bytes = 256 * 4096;

}  // namespace

std::optional<Pipe> PipePool::borrow() {
    if (!free_.empty()) {
        Pipe pipe = std::move(free_.back());
        free_.pop_back();
        return pipe;
    }
    if (existing_ == pipes_max) return std::nullopt;
    int ends[2];
    if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return std::nullopt;
    Pipe pipe{.read_end = datapath::Fd(ends[0]), .write_end = datapath::Fd(ends[1])};
    ::fcntl(pipe.write_end.get(), F_SETPIPE_SZ, pipe_bytes);  // a smaller one only carries less at a time
    ++existing_;
    return pipe;
}

void PipePool::give_back(Pipe pipe) {
    if (pipe.bytes == 0) {
        free_.push_back(std::move(pipe));
    } else {
        --existing_;
    }
}

}  // namespace sluice::agent
