#pragma once
// One direction of a relayed flow: from one socket to the other, without a byte lost, with bounded memory.
//
// Small messages are copied through the worker's buffer (two system calls); a direction that fills it is a
// bulk transfer and moves its pages through a pipe with splice(2) until it calms down. What the receiver does
// not take at once is kept here, at most `chunk_bytes` (copied) or `splice_bytes` (in a pipe), and nothing
// more is read until it is gone: then the sender's window closes, as it would without us.
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "userspace/agent/pipe_pool.h"
#include "userspace/agent/socket.h"

namespace sluice::agent {

class RelayDirection {
  public:
    static constexpr std::size_t chunk_bytes = 64 * 1024;
    static constexpr std::size_t splice_bytes = 256 * 1024;
    // A turn ends after this much, so that one fast flow does not starve its worker's others.
    static constexpr std::size_t turn_bytes = 1024 * 1024;

    enum class Result : std::uint8_t {
        waiting,      // for an event on one of the sockets
        yielded,      // could go on: call again when others have had their turn
        finished,     // the last byte has been handed over: pass on the FIN; said once
        from_failed,  // the sender's connection is gone: RST
        to_failed,    // the receiver's is
    };

    // `bytes` have been carried before the splice: a ClientHello whose answer had to be seen.
    explicit RelayDirection(std::uint64_t bytes) : bytes_(bytes) {}

    // Moves what can be moved now. `buffer` is the worker's, `chunk_bytes` long.
    Result pump(Socket& from, Socket& to, PipePool& pipes, std::span<char> buffer);

    // Reads what is there into memory, until so much is kept, though the receiver does not take it.
    static constexpr std::size_t absorbed_bytes_max = 2 * 1024 * 1024;
    void absorb(Socket& from, std::span<char> buffer);

    std::uint64_t bytes() const { return bytes_; }          // handed to the receiver's socket
    bool empty() const { return kept_.empty() && !pipe_; }  // nothing is kept
    bool bulk() const { return bulk_; }
    void add_carried(std::uint64_t bytes) { bytes_ += bytes; }  // by the kernel, in another splice mode

    // The sender's socket is in a sockmap: it cannot be read with splice(2), and its end of stream says
    // nothing yet, since bytes may be on their way inside the kernel.
    void set_in_sockmap(bool in) {
        in_sockmap_ = in;
        if (in) bulk_ = false;
    }
    void finish() { finished_ = true; }  // its end came in another way
    bool finished() const { return finished_; }
    void release(PipePool& pipes);

  private:
    enum class Step : std::uint8_t { moved, blocked, end_of_stream, from_failed, to_failed };

    Step flush(Socket& to, PipePool& pipes);
    Step copy(Socket& from, Socket& to, std::span<char> buffer);
    Step fill_pipe(Socket& from, PipePool& pipes);
    void keep(std::span<const char> rest);

    std::uint64_t bytes_;
    std::vector<char> kept_;  // copied, not yet taken by the receiver; from kept_begin_ on
    std::size_t kept_begin_ = 0;
    std::optional<Pipe> pipe_;
    bool bulk_ = false;
    bool in_sockmap_ = false;
    bool finished_ = false;
};

}  // namespace sluice::agent
