#include "tests/support/tcp_socket.h"

#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <stdexcept>
#include <utility>

#include "tests/support/socket_address.h"

namespace sluice::test {

namespace {

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

void set_option(int descriptor, int level, int name, int value) {
    if (::setsockopt(descriptor, level, name, &value, sizeof value) != 0) fail("setsockopt");
}

void set_deadline(int descriptor, milliseconds deadline) {
    const timeval value{deadline.count() / 1000, deadline.count() % 1000 * 1000};
    ::setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &value, sizeof value);
    ::setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &value, sizeof value);
}

}  // namespace

TcpSocket TcpSocket::connect(const Netns& netns, const policy::Endpoint& to, const ConnectOptions& options) {
    SocketAddress address(to);
    const int family = to.address.is_v4() ? AF_INET : AF_INET6;
    TcpSocket result(netns.run([&] { return ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0); }),
                     options.deadline);
    if (options.receive_buffer_bytes > 0) {
        set_option(result.descriptor_, SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
    }
    if (options.source) {
        SocketAddress source(*options.source);
        set_option(result.descriptor_, SOL_SOCKET, SO_REUSEADDR, 1);
        if (::bind(result.descriptor_, source.data(), source.size) != 0) fail("bind");
    }
    if (::connect(result.descriptor_, address.data(), address.size) != 0) {
        if (errno == EINPROGRESS) errno = ETIMEDOUT;  // SO_SNDTIMEO ran out
        fail("connect");
    }
    return result;
}

TcpSocket::TcpSocket(int descriptor, milliseconds deadline) : descriptor_(descriptor) {
    if (descriptor_ < 0) fail("socket");
    set_deadline(descriptor_, deadline);
}

TcpSocket::~TcpSocket() {
    close();
}

TcpSocket::TcpSocket(TcpSocket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

TcpSocket& TcpSocket::operator=(TcpSocket&& other) noexcept {
    if (this != &other) {
        close();
        descriptor_ = std::exchange(other.descriptor_, -1);
    }
    return *this;
}

policy::Endpoint TcpSocket::local() const {
    SocketAddress address;
    if (::getsockname(descriptor_, address.data(), &address.size) != 0) fail("getsockname");
    return address.endpoint();
}

policy::Endpoint TcpSocket::peer() const {
    SocketAddress address;
    if (::getpeername(descriptor_, address.data(), &address.size) != 0) fail("getpeername");
    return address.endpoint();
}

void TcpSocket::send(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (count < 0) fail("send");
        bytes.remove_prefix(static_cast<std::size_t>(count));
    }
}

std::string TcpSocket::receive_some(std::size_t bytes_max, StreamEnd& end) {
    std::string bytes(bytes_max, '\0');
    const ssize_t count = ::recv(descriptor_, bytes.data(), bytes.size(), 0);
    if (count == 0) end = StreamEnd::eof;
    if (count < 0) {
        if (errno != EAGAIN && errno != ECONNRESET && errno != EPIPE) fail("recv");
        end = errno == EAGAIN ? StreamEnd::silence : StreamEnd::reset;
    }
    bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return bytes;
}

std::string TcpSocket::receive_exactly(std::size_t bytes) {
    std::string result;
    StreamEnd end{};
    while (result.size() < bytes) {
        const std::string more = receive_some(bytes - result.size(), end);
        if (more.empty()) {
            const char* words[] = {"FIN", "RST", "silence"};
            throw std::runtime_error(std::string(words[static_cast<int>(end)]) + " after " +
                                     std::to_string(result.size()) + " of " + std::to_string(bytes) +
                                     " bytes");
        }
        result += more;
    }
    return result;
}

Received TcpSocket::receive_to_end() {
    Received result;
    for (;;) {
        const std::string more = receive_some(65536, result.end);
        if (more.empty()) return result;
        result.bytes += more;
    }
}

std::size_t TcpSocket::bytes_readable() const {
    int count = 0;
    if (::ioctl(descriptor_, FIONREAD, &count) != 0) fail("FIONREAD");
    return static_cast<std::size_t>(count);
}

void TcpSocket::shutdown_write() {
    // A reset may have come first: who receives hears of it.
    if (::shutdown(descriptor_, SHUT_WR) != 0 && errno != ENOTCONN) fail("shutdown");
}

void TcpSocket::close() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

void TcpSocket::reset() {
    const linger now{1, 0};
    ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
}

void TcpSocket::no_delay() {
    set_option(descriptor_, IPPROTO_TCP, TCP_NODELAY, 1);
}

}  // namespace sluice::test
