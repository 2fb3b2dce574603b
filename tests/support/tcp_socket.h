#pragma once
// A blocking TCP socket for tests. Nothing it does waits longer than its deadline, so that a stall fails a
// test instead of hanging it. What went wrong comes as std::system_error with the kernel's errno.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "policy/address.h"
#include "tests/support/netns.h"
#include "tests/support/wait.h"

namespace sluice::test {

// How a stream stopped: FIN, RST, or not at all within the deadline.
enum class StreamEnd { eof, reset, silence };

struct Received {
    std::string bytes;
    StreamEnd end = StreamEnd::silence;
};

struct ConnectOptions {
    std::optional<policy::Endpoint> source = {};  // bind(2) to it first
    int receive_buffer_bytes = 0;                 // SO_RCVBUF, before the handshake; 0: the kernel's default
    milliseconds deadline = deadline_default;     // of connect, send and receive alike
};

class TcpSocket {
  public:
    static TcpSocket connect(const Netns& netns, const policy::Endpoint& to,
                             const ConnectOptions& options = {});
    explicit TcpSocket(int descriptor, milliseconds deadline = deadline_default);  // takes it over
    ~TcpSocket();
    TcpSocket(TcpSocket&& other) noexcept;
    TcpSocket& operator=(TcpSocket&& other) noexcept;

    int descriptor() const { return descriptor_; }
    policy::Endpoint local() const;
    policy::Endpoint peer() const;

    void send(std::string_view bytes);
    // At most `bytes_max`; empty at the end of the stream, which then is `end`.
    std::string receive_some(std::size_t bytes_max, StreamEnd& end);
    std::string receive_exactly(std::size_t bytes);  // throws std::runtime_error when the stream ends before
    Received receive_to_end();
    // What is there at this moment; does not wait.
    std::size_t bytes_readable() const;

    void shutdown_write();  // FIN, and go on reading
    void close();           // FIN, or RST when there are unread bytes
    void reset();           // RST
    void no_delay();        // each send() becomes a segment of its own, if it fits

  private:
    int descriptor_ = -1;
};

// The errno with which `function` fails; 0 when it does not.
template <class Function>
int errno_of(Function&& function) {
    try {
        function();
        return 0;
    } catch (const std::system_error& error) {
        return error.code().value();
    }
}

}  // namespace sluice::test
