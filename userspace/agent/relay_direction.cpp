#include "userspace/agent/relay_direction.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace sluice::agent {
namespace {

bool would_block(int error) {
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

}  // namespace

RelayDirection::Result RelayDirection::pump(Socket& from, Socket& to, PipePool& pipes,
                                            std::span<char> buffer) {
    if (finished_) return Result::waiting;
    const std::uint64_t bytes_before = bytes_;
    for (;;) {
        Step step = flush(to, pipes);
        if (step == Step::moved) {
            if (bytes_ - bytes_before >= turn_bytes) return Result::yielded;
            step = bulk_ ? fill_pipe(from, pipes) : copy(from, to, buffer);
        }
        switch (step) {
            case Step::moved:
                continue;
            case Step::blocked:
                if (bytes_ - bytes_before < chunk_bytes) bulk_ = false;
                return Result::waiting;
            case Step::end_of_stream:
                finished_ = true;
                release(pipes);
                return Result::finished;
            case Step::from_failed:
                return Result::from_failed;
            case Step::to_failed:
                return Result::to_failed;
        }
    }
}

// Hands on what an earlier step could not. `moved`: nothing is left here, and more may be read.
RelayDirection::Step RelayDirection::flush(Socket& to, PipePool& pipes) {
    while (kept_begin_ < kept_.size()) {
        if (!to.writable) return Step::blocked;
        const std::size_t left = kept_.size() - kept_begin_;
        const ssize_t n = ::send(to.native(), kept_.data() + kept_begin_, left, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && !would_block(errno)) return Step::to_failed;
        if (n < 0) {
            to.writable = false;
            return Step::blocked;
        }
        kept_begin_ += static_cast<std::size_t>(n);
        bytes_ += static_cast<std::uint64_t>(n);
    }
    if (!kept_.empty()) {
        std::vector<char>().swap(kept_);  // an idle flow keeps no buffer
        kept_begin_ = 0;
    }
    while (pipe_ && pipe_->bytes > 0) {
        if (!to.writable) return Step::blocked;
        const ssize_t n = ::splice(pipe_->read_end.get(), nullptr, to.native(), nullptr, pipe_->bytes,
                                   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n < 0 && !would_block(errno)) return Step::to_failed;
        if (n <= 0) {
            to.writable = false;
            return Step::blocked;
        }
        pipe_->bytes -= static_cast<std::size_t>(n);
        bytes_ += static_cast<std::uint64_t>(n);
    }
    if (pipe_ && !bulk_) release(pipes);
    return Step::moved;
}

RelayDirection::Step RelayDirection::copy(Socket& from, Socket& to, std::span<char> buffer) {
    if (!from.readable) return Step::blocked;
    const ssize_t received = ::recv(from.native(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    // The kernel tells of an RST once, and whoever came before may have been told: from then on reads end.
    if (received == 0 && !in_sockmap_) return from.failed ? Step::from_failed : Step::end_of_stream;
    if (received <= 0) {
        if (received < 0 && !would_block(errno)) return Step::from_failed;
        from.readable = false;
        return Step::blocked;
    }
    const auto got = static_cast<std::size_t>(received);
    if (got == buffer.size()) {
        bulk_ = !in_sockmap_ && !from.urgent;
    } else if (!from.hung_up && !from.urgent) {
        from.readable = false;  // a short read has emptied the socket; what comes later is a new edge
    }
    std::size_t sent = 0;
    if (to.writable) {
        const ssize_t n = ::send(to.native(), buffer.data(), got, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && !would_block(errno)) return Step::to_failed;
        if (n > 0) sent = static_cast<std::size_t>(n);
        if (sent < got) to.writable = false;
    }
    bytes_ += sent;
    if (sent < got) keep(buffer.subspan(sent, got - sent));
    return Step::moved;
}

void RelayDirection::absorb(Socket& from, std::span<char> buffer) {
    while (kept_.size() - kept_begin_ < absorbed_bytes_max) {
        const ssize_t received = ::recv(from.native(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (received <= 0) return;
        kept_.insert(kept_.end(), buffer.begin(), buffer.begin() + received);
    }
}

RelayDirection::Step RelayDirection::fill_pipe(Socket& from, PipePool& pipes) {
    if (!from.readable) return Step::blocked;
    if (!pipe_) pipe_ = pipes.borrow();
    if (!pipe_) {
        bulk_ = false;
        return Step::moved;
    }
    const ssize_t n = ::splice(from.native(), nullptr, pipe_->write_end.get(), nullptr, splice_bytes,
                               SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (n == 0) {
        // Not always the end: splice(2) also stops at an urgent mark once the FIN is here. recv() knows.
        bulk_ = false;
        return Step::moved;
    }
    if (n < 0) {
        if (!would_block(errno)) return Step::from_failed;
        from.readable = false;
        release(pipes);
        return Step::blocked;
    }
    pipe_->bytes += static_cast<std::size_t>(n);
    return Step::moved;
}

void RelayDirection::keep(std::span<const char> rest) {
    kept_.assign(rest.begin(), rest.end());
}

void RelayDirection::release(PipePool& pipes) {
    if (pipe_) pipes.give_back(std::move(*std::exchange(pipe_, std::nullopt)));
}

}  // namespace sluice::agent
