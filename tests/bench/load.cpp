// The load generator of `./dev bench`: a server, and a client that measures.
//
//   load server ADDRESS                     listens on the ports below until it is killed
//   load client WHAT ADDRESS [SECONDS]      prints "VALUE CPU_PER_UNIT"
//
// WHAT                  load                                              VALUE           CPU_PER_UNIT
// bulk                  one flow, server to client                        Gbit/s          s/GB
// request_response_64   64 flows, 128 bytes up, then 128 bytes down       transactions/s  us/transaction
// new_flows             connect, 128 bytes up, 128 bytes down, close      flows/s         us/flow
//
// The CPU time is the whole box's, client and server included, from /proc/stat: what a subject's own
// processes use is only a part of what it costs. The client speaks first in every flow, as most do.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint16_t port_first = 9000;
constexpr std::uint16_t port_count =
    8;  // each gives new_flows another range of four-tuples before one is used again
constexpr std::size_t message_bytes = 128;
constexpr std::size_t bulk_bytes = 256 * 1024;  // of one read or write
constexpr std::size_t flows_at_once = 64;
constexpr auto warm_up = std::chrono::milliseconds(500);
constexpr char echo_request = 'e';    // every message is answered with one of the same length
constexpr char stream_request = 's';  // one message, answered with zeros for ever

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "load: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

int check(int result, const char* what) {
    if (result < 0) fail(what);
    return result;
}

sockaddr_in address_of(const char* text, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1) {
        std::fprintf(stderr, "load: '%s' is not an IPv4 address\n", text);
        std::exit(2);
    }
    return address;
}

int stream_socket() {
    const int fd = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    const int on = 1;
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
    return fd;
}

void watch(int epoll, int operation, int fd, std::uint32_t events, std::uint64_t data) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = data;
    check(epoll_ctl(epoll, operation, fd, &event), "epoll_ctl");
}

// Busy time of all processors since boot, in seconds.
double cpu_seconds() {
    std::ifstream stat("/proc/stat");
    std::string label;
    std::array<double, 7> ticks{};  // user nice system idle iowait irq softirq
    stat >> label;
    for (double& value : ticks)
        stat >> value;
    const double busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
    return busy / static_cast<double>(sysconf(_SC_CLK_TCK));
}

class Server {
  public:
    explicit Server(const char* address) : epoll_(check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")) {
        for (std::uint16_t i = 0; i < port_count; ++i)
            listen_on(address_of(address, port_first + i));
    }

    [[noreturn]] void run() {
        std::array<epoll_event, 256> events{};
        for (;;) {
            const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
            for (int i = 0; i < count; ++i)
                serve(events[static_cast<std::size_t>(i)].data.fd);
        }
    }

  private:
    struct Connection {
        bool listener = false;
        bool streams = false;
        std::size_t received = 0;  // bytes of the message that is arriving
    };

    void listen_on(sockaddr_in address) {
        const int fd = stream_socket();
        const int on = 1;
        check(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
        check(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), "bind");
        check(listen(fd, 4096), "listen");
        connection(fd) = Connection{.listener = true};
        watch(epoll_, EPOLL_CTL_ADD, fd, EPOLLIN, static_cast<std::uint64_t>(fd));
    }

    Connection& connection(int fd) {
        const auto index = static_cast<std::size_t>(fd);
        if (index >= connections_.size()) connections_.resize(index * 2 + 64);
        return connections_[index];
    }

    void serve(int fd) {
        const bool open = connection(fd).listener  ? accept_all(fd)
                          : connection(fd).streams ? stream(fd)
                                                   : echo(fd);
        if (!open) close(fd);
    }

    bool accept_all(int listener) {
        for (;;) {
            const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd < 0) return true;
            const int on = 1;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            connection(fd) = Connection{};
            watch(epoll_, EPOLL_CTL_ADD, fd, EPOLLIN, static_cast<std::uint64_t>(fd));
        }
    }

    bool echo(int fd) {
        const ssize_t got = recv(fd, buffer_.data(), message_bytes, 0);
        if (got <= 0) return got < 0 && errno == EAGAIN;
        Connection& flow = connection(fd);
        if (buffer_[0] == stream_request) {
            flow.streams = true;
            watch(epoll_, EPOLL_CTL_MOD, fd, EPOLLOUT, static_cast<std::uint64_t>(fd));
            return true;
        }
        flow.received += static_cast<std::size_t>(got);
        if (flow.received < message_bytes) return true;
        flow.received -= message_bytes;
        return send(fd, buffer_.data(), message_bytes, MSG_NOSIGNAL) == message_bytes;
    }

    bool stream(int fd) {
        const ssize_t sent = send(fd, zeros_.data(), zeros_.size(), MSG_NOSIGNAL);
        return sent >= 0 || errno == EAGAIN;
    }

    int epoll_;
    std::vector<Connection> connections_;
    std::vector<char> buffer_ = std::vector<char>(message_bytes);
    std::vector<char> zeros_ = std::vector<char>(bulk_bytes);
};

enum class What : std::uint8_t { bulk, request_response, new_flows };

class Client {
  public:
    Client(What what, const char* address)
        : what_(what),
          epoll_(check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
          flows_(what == What::bulk ? 1 : flows_at_once),
          request_(message_bytes, what == What::bulk ? stream_request : echo_request) {
        for (std::uint16_t i = 0; i < port_count; ++i)
            servers_[i] = address_of(address, port_first + i);
    }

    // Units done (bytes or transactions or flows), after the warm-up, and what they cost.
    struct Result {
        double units = 0;
        double seconds = 0;
        double cpu_seconds = 0;
    };

    Result run(std::chrono::milliseconds duration) {
        for (std::size_t i = 0; i < flows_.size(); ++i)
            open(i);
        drive_until(Clock::now() + warm_up);
        const auto start = Clock::now();
        const double cpu_start = cpu_seconds();
        units_ = 0;
        drive_until(start + duration);
        const std::chrono::duration<double> elapsed = Clock::now() - start;
        return {static_cast<double>(units_), elapsed.count(), cpu_seconds() - cpu_start};
    }

    std::uint64_t failures() const { return failures_; }

  private:
    struct Flow {
        int fd = -1;
        bool connected = false;
        std::size_t received = 0;
    };

    void open(std::size_t index) {
        Flow& flow = flows_[index];
        flow = Flow{.fd = stream_socket()};
        sockaddr_in& server = servers_[next_server_++ % port_count];
        if (connect(flow.fd, reinterpret_cast<sockaddr*>(&server), sizeof server) < 0 && errno != EINPROGRESS)
            fail("connect");
        watch(epoll_, EPOLL_CTL_ADD, flow.fd, EPOLLOUT, index);
    }

    void drive_until(Clock::time_point deadline) {
        std::array<epoll_event, flows_at_once> events{};
        while (Clock::now() < deadline) {
            const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 100);
            for (int i = 0; i < count; ++i)
                advance(events[static_cast<std::size_t>(i)].data.u64);
        }
    }

    void advance(std::size_t index) {
        Flow& flow = flows_[index];
        const bool fine = !flow.connected       ? begin(flow, index)
                          : what_ == What::bulk ? drain(flow)
                                                : answer(flow, index);
        if (fine) return;
        if (++failures_ > failures_max) fail("flow");
        close(flow.fd);
        open(index);
    }

    bool begin(Flow& flow, std::size_t index) {
        flow.connected = true;
        watch(epoll_, EPOLL_CTL_MOD, flow.fd, EPOLLIN, index);
        return ask(flow);
    }

    bool ask(Flow& flow) {
        return send(flow.fd, request_.data(), request_.size(), MSG_NOSIGNAL) == message_bytes;
    }

    bool drain(const Flow& flow) {
        const ssize_t got = recv(flow.fd, buffer_.data(), buffer_.size(), 0);
        if (got > 0) units_ += static_cast<std::uint64_t>(got);
        return got > 0 || (got < 0 && errno == EAGAIN);
    }

    bool answer(Flow& flow, std::size_t index) {
        const ssize_t got = recv(flow.fd, buffer_.data(), message_bytes, 0);
        if (got <= 0) return got < 0 && errno == EAGAIN;
        flow.received += static_cast<std::size_t>(got);
        if (flow.received < message_bytes) return true;
        flow.received = 0;
        ++units_;
        if (what_ == What::request_response) return ask(flow);
        close(flow.fd);
        open(index);
        return true;
    }

    static constexpr std::uint64_t failures_max = 100;

    What what_;
    int epoll_;
    std::vector<Flow> flows_;
    std::string request_;
    std::array<sockaddr_in, port_count> servers_{};
    std::size_t next_server_ = 0;
    std::uint64_t units_ = 0;
    std::uint64_t failures_ = 0;
    std::vector<char> buffer_ = std::vector<char>(bulk_bytes);
};

[[noreturn]] void usage() {
    std::fprintf(stderr, "usage: load server ADDRESS | load client WHAT ADDRESS [SECONDS]\n");
    std::exit(2);
}

What what_named(std::string_view name) {
    if (name == "bulk") return What::bulk;
    if (name == "request_response_64") return What::request_response;
    if (name == "new_flows") return What::new_flows;
    usage();
}

int run_client(What what, const char* address, double seconds) {
    Client client(what, address);
    const auto result = client.run(std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000)));
    if (result.units == 0) {
        std::fprintf(stderr, "load: nothing got through\n");
        return 1;
    }
    if (client.failures() > 0)
        std::fprintf(stderr, "load: %llu flows failed\n", static_cast<unsigned long long>(client.failures()));
    const bool bulk = what == What::bulk;
    const double value = bulk ? result.units * 8 / 1e9 : result.units;
    const double cpu_units = bulk ? result.units / 1e9 : result.units / 1e6;
    std::printf("%.4f %.4f\n", value / result.seconds, result.cpu_seconds / cpu_units);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view mode = argc > 1 ? argv[1] : "";
    if (mode == "server" && argc == 3) Server(argv[2]).run();
    if (mode == "client" && (argc == 4 || argc == 5))
        return run_client(what_named(argv[2]), argv[3], argc == 5 ? std::atof(argv[4]) : 3.0);
    usage();
}
