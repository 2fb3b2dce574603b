#pragma once
// A TCP server of the test's own making: one thread accepts, each connection runs a function on a thread of
// its own.
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "policy/address.h"
#include "tests/support/netns.h"
#include "tests/support/tcp_socket.h"

namespace sluice::test {

class TcpServer {
  public:
    // The connection closes when the function returns. An exception that leaves it ends that connection only.
    using Conversation = std::function<void(TcpSocket&)>;

    // Listens on every address, IPv4 and IPv6, of `netns`. `receive_buffer_bytes`: SO_RCVBUF of its
    // connections.
    TcpServer(const Netns& netns, std::uint16_t port, Conversation conversation,
              int receive_buffer_bytes = 0);
    // Shuts down what is still open and waits for the threads.
    ~TcpServer();
    TcpServer(const TcpServer&) = delete;
    TcpServer& operator=(const TcpServer&) = delete;

    std::size_t accepted() const;
    std::vector<policy::Endpoint> peers() const;  // who connected, in order

    // Conversations that many tests need.
    static void echo(TcpSocket& socket);     // until the client's FIN, then its own
    static void swallow(TcpSocket& socket);  // reads all, says nothing, ends when the client does

  private:
    void accept_all();
    void converse(TcpSocket socket);

    int listener_;
    Conversation conversation_;
    mutable std::mutex mutex_;
    std::vector<policy::Endpoint> peers_;
    std::vector<int> open_;  // descriptors of live conversations
    std::vector<std::jthread> threads_;
    bool stopping_ = false;
    std::jthread acceptor_;
};

}  // namespace sluice::test
