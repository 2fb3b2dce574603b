// The capture rules on a real kernel: packets of real clients, routed by a real gateway. A listener of the
// test's own plays the agent.
#include "userspace/datapath/capture.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

#include "tests/support/lab.h"
#include "tests/support/process.h"
#include "tests/support/socket_address.h"
#include "tests/support/tcp_server.h"
#include "tests/support/tcp_socket.h"

namespace sluice::datapath {

using test::endpoint;
using test::Lab;
using test::milliseconds;
using test::Netns;
using test::TcpServer;
using test::TcpSocket;
using test::wait_until;
using namespace std::chrono_literals;

inline constexpr auto never = 400ms;  // how long a connection is tried that must not succeed

inline CaptureConfig config_of_lan() {
    CaptureConfig config;
    config.interfaces = {"lan0"};
    return config;
}

inline std::vector<policy::PortRange> ports(std::uint16_t port) {
    return {{port, port}};
}

inline std::vector<policy::Cidr> prefix(const char* text) {
    return {policy::Cidr::parse(text).value()};
}

inline void set_option(int descriptor, int level, int option) {
    const int on = 1;
    ASSERT_EQ(setsockopt(descriptor, level, option, &on, sizeof on), 0) << strerror(errno);
}

inline int transparent_socket(const policy::Endpoint& address) {
    const bool v4 = address.address.is_v4();
    const int descriptor = ::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_option(descriptor, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT);
    set_option(descriptor, SOL_SOCKET, SO_REUSEADDR);
    return descriptor;
}

// Plays the agent's listener.
class Listener {
  public:
    explicit Listener(const Netns& netns, bool v6 = false) {
        netns.run([&] {
            const policy::Endpoint address = endpoint(v6 ? "[::1]:15001" : "127.0.0.1:15001");
            descriptor_ = transparent_socket(address);
            set_option(descriptor_, SOL_SOCKET, SO_REUSEPORT);
            test::SocketAddress bound(address);
            EXPECT_EQ(::bind(descriptor_, bound.data(), bound.size), 0) << strerror(errno);
            EXPECT_EQ(::listen(descriptor_, 128), 0);
        });
    }
    ~Listener() { ::close(descriptor_); }
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    bool waiting(milliseconds deadline = test::deadline_default) const {
        pollfd wanted{descriptor_, POLLIN, 0};
        return ::poll(&wanted, 1, static_cast<int>(deadline.count())) == 1;
    }
    TcpSocket accept() const {
        if (!waiting()) throw std::runtime_error("nothing was captured");
        return TcpSocket(::accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC));
    }

  private:
    int descriptor_ = -1;
};

// Rules are installed in the gateway for the life of the object.
class Installed {
  public:
    Installed(const Netns& gateway, const CaptureConfig& config) : gateway_(gateway), config_(config) {
        gateway_.run([&] { install_capture(config_); });
    }
    ~Installed() {
        gateway_.run([&] { remove_capture(config_); });
    }
    Installed(const Installed&) = delete;
    Installed& operator=(const Installed&) = delete;

  private:
    const Netns& gateway_;
    CaptureConfig config_;
};

inline std::string output(const Netns& netns, const std::vector<std::string>& command) {
    const test::Finished finished = test::run_process(command, {.netns = &netns});
    EXPECT_EQ(finished.exit_code, 0) << command[0] << ": " << finished.err;
    return finished.out;
}

// Everything that a capture could have changed on the host.
inline std::string host_state(const Netns& netns) {
    return output(netns, {"nft", "list", "ruleset"}) + output(netns, {"ip", "rule"}) +
           output(netns, {"ip", "-6", "rule"}) + output(netns, {"ip", "route", "show", "table", "all"}) +
           output(netns, {"ip", "-6", "route", "show", "table", "all"});
}

inline void nft(const Netns& netns, const std::string& script) {
    output(netns, {"nft", script});
}

// What the agent does for a flow of the client's address: from the gateway, with that address.
inline TcpSocket connect_upstream(const Netns& gateway, const policy::Endpoint& from,
                                  const policy::Endpoint& to) {
    return gateway.run([&] {
        const int descriptor = transparent_socket(to);
        test::SocketAddress source(from);
        test::SocketAddress destination(to);
        const timeval limit{5, 0};  // SO_SNDTIMEO is also connect's
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        const bool connected = ::bind(descriptor, source.data(), source.size) == 0 &&
                               ::connect(descriptor, destination.data(), destination.size) == 0;
        const int error = errno;
        TcpSocket socket(descriptor);
        if (!connected) throw std::system_error(error, std::generic_category());
        return socket;
    });
}

// The errno that a datagram draws; 0: it arrived at `port` of the server.
inline int send_datagram(const Lab& lab, const policy::Endpoint& to, std::string_view payload) {
    const int family = to.address.is_v4() ? AF_INET : AF_INET6;
    const auto udp = [&] { return ::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0); };
    const int sender = lab.client().run(udp);
    const int receiver = lab.server().run(udp);
    test::SocketAddress address(to);
    EXPECT_EQ(::bind(receiver, address.data(), address.size), 0);
    EXPECT_EQ(::connect(sender, address.data(), address.size), 0);
    EXPECT_EQ(::send(sender, payload.data(), payload.size(), 0), static_cast<ssize_t>(payload.size()));
    pollfd wanted[] = {{sender, POLLIN, 0}, {receiver, POLLIN, 0}};
    EXPECT_GT(::poll(wanted, 2, 5000), 0) << "neither an error nor the datagram came";
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(sender, SOL_SOCKET, SO_ERROR, &error, &size);
    ::close(sender);
    ::close(receiver);
    return error;
}

inline int connect_errno(const Lab& lab, const policy::Endpoint& to,
                         milliseconds deadline = test::deadline_default) {
    return test::errno_of([&] { TcpSocket::connect(lab.client(), to, {.deadline = deadline}); });
}

}  // namespace sluice::datapath
