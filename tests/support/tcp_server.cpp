#include "tests/support/tcp_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "tests/support/socket_address.h"

namespace sluice::test {

namespace {

int listen_on(const Netns& netns, std::uint16_t port, int receive_buffer_bytes) {
    const int listener = netns.run([] { return ::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0); });
    const int on = 1;
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (receive_buffer_bytes > 0) {
        ::setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
    }
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(port);
    if (::bind(listener, reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0 ||
        ::listen(listener, 4096) != 0) {
        throw std::system_error(errno, std::generic_category(), "listen on port " + std::to_string(port));
    }
    return listener;
}

}  // namespace

TcpServer::TcpServer(const Netns& netns, std::uint16_t port, Conversation conversation,
                     int receive_buffer_bytes)
    : listener_(listen_on(netns, port, receive_buffer_bytes)),
      conversation_(std::move(conversation)),
      acceptor_([this] { accept_all(); }) {}

TcpServer::~TcpServer() {
    ::shutdown(listener_, SHUT_RDWR);  // accept(2) returns with an error
    acceptor_.join();
    ::close(listener_);
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        for (const int descriptor : open_)
            ::shutdown(descriptor, SHUT_RDWR);
    }
    threads_.clear();
}

std::size_t TcpServer::accepted() const {
    const std::lock_guard lock(mutex_);
    return peers_.size();
}

std::vector<policy::Endpoint> TcpServer::peers() const {
    const std::lock_guard lock(mutex_);
    return peers_;
}

void TcpServer::accept_all() {
    for (;;) {
        SocketAddress address;
        const int descriptor = ::accept4(listener_, address.data(), &address.size, SOCK_CLOEXEC);
        if (descriptor < 0 && (errno == ECONNABORTED || errno == EINTR)) continue;
        if (descriptor < 0) return;
        const std::lock_guard lock(mutex_);
        peers_.push_back(address.endpoint());
        open_.push_back(descriptor);
        threads_.emplace_back(
            [this, socket = TcpSocket(descriptor)]() mutable { converse(std::move(socket)); });
    }
}

void TcpServer::converse(TcpSocket socket) {
    const int descriptor = socket.descriptor();
    try {
        conversation_(socket);
    } catch (const std::exception&) {
        // The client vanished or the test is over: what matters of it, the test sees at its own end.
    }
    const std::lock_guard lock(mutex_);
    // One entry only: a conversation that closed its socket itself may have made room for another of the same
    // number.
    open_.erase(std::ranges::find(open_, descriptor));
    socket.close();
}

void TcpServer::echo(TcpSocket& socket) {
    StreamEnd end{};
    for (std::string bytes; !(bytes = socket.receive_some(65536, end)).empty();)
        socket.send(bytes);
}

void TcpServer::swallow(TcpSocket& socket) {
    socket.receive_to_end();
}

}  // namespace sluice::test
