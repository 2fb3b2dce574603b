#include "tests/support/short_flows.h"

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/socket_address.h"
#include "tests/support/tcp_socket.h"
#include "tests/support/wait.h"

namespace sluice::test {
namespace {

constexpr unsigned clients = 4;
constexpr unsigned servers = 4;
constexpr std::uint16_t port_first = 40'000;
constexpr unsigned ports_per_client = 250;

int open_listener(const Netns& netns, std::uint16_t port) {
    return netns.run([&] {
        const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        SocketAddress any(endpoint("0.0.0.0:" + std::to_string(port)));
        const int on = 1;
        ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (::bind(listener, any.data(), any.size) != 0 || ::listen(listener, 1024) != 0)
            throw std::system_error(errno, std::generic_category(), "listen");
        return listener;
    });
}

void answer_all(int listener) {
    for (;;) {
        const int accepted = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (accepted < 0) return;
        errno_of([&] {
            TcpSocket socket(accepted);
            StreamEnd end{};
            socket.send(socket.receive_some(64, end));
        });
    }
}

bool run_one(const Lab& lab, const policy::Endpoint& source, const policy::Endpoint& server,
             unsigned number) {
    const std::string question = "question " + std::to_string(number);
    bool answered = false;
    int error = 0;
    const auto ask = [&] {
        error = errno_of([&] {
            TcpSocket socket = TcpSocket::connect(lab.client(), server, {.source = source});
            socket.send(question);
            const Received answer = socket.receive_to_end();
            answered = answer.bytes == question && answer.end == StreamEnd::eof;
        });
        return error != EADDRNOTAVAIL;
    };
    // On a busy machine a link may lose the last acknowledgement of the port's last flow, which keeps the
    // port until it is sent again.
    wait_until(ask);
    if (!answered) std::cerr << question << ": " << std::strerror(error) << "\n";
    return answered;
}

}  // namespace

unsigned run_short_flows(const Lab& lab, std::uint16_t port, unsigned flows) {
    const int listener = open_listener(lab.server(), port);
    std::atomic<unsigned> answered = 0;
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < servers; ++i)
        threads.emplace_back([listener] { answer_all(listener); });
    {
        std::vector<std::jthread> askers;
        for (unsigned i = 0; i < clients; ++i) {
            askers.emplace_back([&, i] {
                policy::Endpoint source = endpoint("10.10.1.2:0");
                for (unsigned number = i; number < flows; number += clients) {
                    const unsigned place = number / clients % ports_per_client;
                    source.port = static_cast<std::uint16_t>(port_first + i * ports_per_client + place);
                    if (run_one(lab, source, Lab::server_v4(port), number)) ++answered;
                }
            });
        }
    }
    ::shutdown(listener, SHUT_RDWR);
    threads.clear();
    ::close(listener);
    return answered;
}

std::string misfits(const Lab& lab) {
    std::string found;
    for (const char* name :
         {"InCsumErrors", "PAWSActive", "PAWSEstab", "TCPACKSkippedSynRecv", "TCPACKSkippedPAWS",
          "TCPACKSkippedSeq", "TCPACKSkippedFinWait2", "TCPACKSkippedTimeWait", "TCPACKSkippedChallenge",
          "TCPChallengeACK", "PAWSTimewait"}) {
        for (const Netns* netns : {&lab.client(), &lab.server()}) {
            const std::uint64_t count =
                netns->find_tcp_counter(name).value_or(0);  // Linux 6.1 lacks the last
            if (count > 0)
                found += std::string(netns == &lab.client() ? "client: " : "server: ") + name + " " +
                         std::to_string(count) + "\n";
        }
    }
    return found;
}

}  // namespace sluice::test
