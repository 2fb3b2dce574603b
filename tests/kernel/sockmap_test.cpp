// The sockmap and its program between two pairs of sockets on the loopback, without an agent: each promise of
// userspace/datapath/sockmap.h, and each trap of the kernel that it steps around.
#include "userspace/datapath/sockmap.h"

#include <gtest/gtest.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <thread>

#include "tests/support/byte_stream.h"
#include "tests/support/netns.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

using datapath::Sockmap;

// client.far <-> client.near | server.near <-> server.far
struct Leg {
    explicit Leg(const Netns& netns) {
        netns.run([&] {
            sockaddr_in address{};
            address.sin_family = AF_INET;
            address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            auto* generic = reinterpret_cast<sockaddr*>(&address);
            socklen_t size = sizeof address;
            const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
            ::bind(listener, generic, size);
            ::listen(listener, 1);
            ::getsockname(listener, generic, &size);
            const int one = ::socket(AF_INET, SOCK_STREAM, 0);
            ::connect(one, generic, size);
            far.emplace(one);
            near.emplace(::accept(listener, nullptr, nullptr));
            ::close(listener);
        });
    }
    std::optional<TcpSocket> far;
    std::optional<TcpSocket> near;
};

class SockmapTest : public testing::Test {
  protected:
    std::optional<Sockmap::Inserted> insert() {
        return map.insert(client.near->descriptor(), server.near->descriptor());
    }
    const Netns netns{"sockmap"};
    Sockmap map{4};
    Leg client{netns};
    Leg server{netns};
};

TEST(SockmapSelfTest, PassesHere) {
    const Netns netns("sockmap");
    EXPECT_EQ(netns.run([] { return datapath::sockmap_self_test(); }), std::nullopt);
}

TEST_F(SockmapTest, BytesFromBeforeTheInsertionComeFirst) {
    client.far->send("hello");
    ASSERT_TRUE(wait_until([&] { return client.near->bytes_readable() == 5; }));
    ASSERT_TRUE(insert());
    EXPECT_EQ(server.far->receive_exactly(5), "hello");
    client.far->send(" world");
    EXPECT_EQ(server.far->receive_exactly(6), " world");
}

TEST_F(SockmapTest, RestOfAHalfReadSegmentIsNotDoubled) {
    client.far->send("0123456789");
    ASSERT_EQ(client.near->receive_exactly(4), "0123");
    ASSERT_TRUE(insert());
    client.far->send("abc");
    EXPECT_EQ(server.far->receive_exactly(9), "456789abc");
}

TEST_F(SockmapTest, BareFinDoesNotBreakTheOtherDirection) {
    ASSERT_TRUE(insert());
    client.far->shutdown_write();
    pollfd end{.fd = client.near->descriptor(), .events = POLLRDHUP, .revents = 0};
    ASSERT_EQ(::poll(&end, 1, 5000), 1);
    server.far->send("still here");
    EXPECT_EQ(client.far->receive_exactly(10), "still here");
}

// The FIN of a client that has not read yet what the kernel holds for it.
TEST_F(SockmapTest, BareFinDoesNotBreakItsOwnSocketWhileBytesWaitThere) {
    const int small = 16384;
    ::setsockopt(client.near->descriptor(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    ::setsockopt(client.far->descriptor(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    const std::uint64_t base = datapath::bytes_written(client.near->descriptor()).value();
    const auto in = insert();
    ASSERT_TRUE(in);
    const std::string answer = ByteStream(1).next(400'000);
    server.far->send(answer);
    const auto& leg = map.leg(in->pair, Sockmap::server);
    ASSERT_TRUE(wait_until([&] { return leg.redirected == answer.size(); }));
    ASSERT_LT(*datapath::bytes_written(client.near->descriptor()) - base, answer.size()) << "none waits";
    client.far->shutdown_write();
    pollfd end{.fd = client.near->descriptor(), .events = POLLRDHUP, .revents = 0};
    ASSERT_EQ(::poll(&end, 1, 5000), 1);
    EXPECT_EQ(end.revents & POLLERR, 0);
    EXPECT_EQ(client.far->receive_exactly(answer.size()), answer);
}

TEST_F(SockmapTest, SocketThatHasItsFinIsNotTaken) {
    server.far->shutdown_write();
    pollfd end{.fd = server.near->descriptor(), .events = POLLRDHUP, .revents = 0};
    ASSERT_EQ(::poll(&end, 1, 5000), 1);
    EXPECT_FALSE(insert());
    client.far->send("as before");
    EXPECT_EQ(client.near->receive_exactly(9), "as before");
}

TEST_F(SockmapTest, BytesForATargetThatIsGoneArePassedNotDropped) {
    const auto in = insert();
    ASSERT_TRUE(in);
    server.near->close();
    client.far->send("nobody there");
    EXPECT_EQ(client.near->receive_exactly(12), "nobody there");
    EXPECT_EQ(map.leg(in->pair, Sockmap::client).passed, 12u);
}

// A peer that sends from `back` bytes before its last one: the same connection, in a new socket, as a host
// does that repacketises what it retransmits. Its old socket vanishes (TCP_REPAIR).
TcpSocket send_again_from(const Netns& netns, TcpSocket old, std::uint32_t back) {
    const auto get = [](int fd, int name, auto& value) {
        socklen_t size = sizeof value;
        EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, name, &value, &size), 0) << name;
    };
    const auto set = [](int fd, int name, auto value) {
        EXPECT_EQ(::setsockopt(fd, IPPROTO_TCP, name, &value, sizeof value), 0) << name;
    };
    sockaddr_in local{};
    sockaddr_in peer{};
    socklen_t size = sizeof local;
    ::getsockname(old.descriptor(), reinterpret_cast<sockaddr*>(&local), &size);
    ::getpeername(old.descriptor(), reinterpret_cast<sockaddr*>(&peer), &size);
    std::uint32_t sent = 0;
    std::uint32_t received = 0;
    tcp_repair_window window{};
    set(old.descriptor(), TCP_REPAIR, 1);
    set(old.descriptor(), TCP_REPAIR_QUEUE, int{TCP_SEND_QUEUE});
    get(old.descriptor(), TCP_QUEUE_SEQ, sent);
    set(old.descriptor(), TCP_REPAIR_QUEUE, int{TCP_RECV_QUEUE});
    get(old.descriptor(), TCP_QUEUE_SEQ, received);
    get(old.descriptor(), TCP_REPAIR_WINDOW, window);
    old.close();
    window.snd_wl1 = received;
    const int fd = netns.run([] { return ::socket(AF_INET, SOCK_STREAM, 0); });
    set(fd, TCP_REPAIR, 1);
    set(fd, TCP_REPAIR_QUEUE, int{TCP_SEND_QUEUE});
    set(fd, TCP_QUEUE_SEQ, sent - back);
    set(fd, TCP_REPAIR_QUEUE, int{TCP_RECV_QUEUE});
    set(fd, TCP_QUEUE_SEQ, received);
    EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&local), sizeof local), 0) << errno;
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&peer), sizeof peer), 0) << errno;
    set(fd, TCP_REPAIR_WINDOW, window);
    set(fd, TCP_REPAIR, int{TCP_REPAIR_OFF_NO_WP});
    return TcpSocket(fd);
}

TEST_F(SockmapTest, OverlappingSegmentsAreForwardedOnce) {
    for (const char* option : {"tcp_timestamps", "tcp_window_scaling", "tcp_sack"})
        netns.sysctl(std::string("net/ipv4/") + option, "0");
    Leg from(netns);
    Leg to(netns);
    const auto in = map.insert(from.near->descriptor(), to.near->descriptor());
    ASSERT_TRUE(in);
    const std::string stream = ByteStream(1).next(40'000);
    from.far->send(stream.substr(0, 10'000));
    ASSERT_EQ(to.far->receive_exactly(10'000), stream.substr(0, 10'000));
    TcpSocket again = send_again_from(netns, std::move(*from.far), 300);
    // The first segment (536 bytes, as this socket knows no better) begins with 300 that the other one has
    // had.
    again.send(stream.substr(9'700));
    EXPECT_EQ(to.far->receive_exactly(30'000), stream.substr(10'000));
    EXPECT_EQ(map.leg(in->pair, Sockmap::client).redirected, stream.size());
    to.far->send("and back");
    EXPECT_EQ(again.receive_exactly(8), "and back");
}

// What the agent does, for the direction up, in a loop: nothing is read before what was redirected is
// through.
class PassedBytes {
  public:
    // `base`: bytes_written(to) before the insertion.
    PassedBytes(Sockmap& map, Sockmap::Pair pair, TcpSocket& from, TcpSocket& to, std::uint64_t base)
        : map_(map), pair_(pair), from_(from), to_(to), base_(base) {}

    bool drained() const {
        const auto written = datapath::bytes_written(to_.descriptor());
        return written && *written - base_ == map_.leg(pair_, Sockmap::client).redirected + consumed_;
    }
    // False: there was nothing to do.
    bool relay() {
        if (map_.leg(pair_, Sockmap::client).passed == consumed_ || !drained()) return false;
        const ssize_t n = ::recv(from_.descriptor(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
        if (n <= 0) return false;
        to_.send({buffer_.data(), static_cast<std::size_t>(n)});
        consumed_ += static_cast<std::uint64_t>(n);
        map_.consume(pair_, Sockmap::client, consumed_);
        return true;
    }
    std::uint64_t consumed() const { return consumed_; }
    std::uint64_t carried() const { return map_.leg(pair_, Sockmap::client).redirected + consumed_; }

  private:
    Sockmap& map_;
    Sockmap::Pair pair_;
    TcpSocket& from_;
    TcpSocket& to_;
    std::uint64_t base_;
    std::uint64_t consumed_ = 0;
    std::string buffer_ = std::string(65536, '\0');
};

TEST_F(SockmapTest, BytesThatComeTooFastArePassedInOrderAndTheKernelGoesOnAfterThem) {
    const std::uint64_t base = datapath::bytes_written(server.near->descriptor()).value();
    const auto in = insert();
    ASSERT_TRUE(in);
    PassedBytes relay(map, in->pair, *client.near, *server.near, base);
    const auto& leg = map.leg(in->pair, Sockmap::client);
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
        const std::string block = ByteStream(seed).next(20'000'000);
        std::jthread sender([&] { client.far->send(block); });
        // The server reads nothing until the program has had enough.
        const std::uint64_t passed_before = leg.passed;
        ASSERT_TRUE(wait_until([&] { return leg.passed > passed_before; }));
        std::string got;
        std::jthread receiver([&] { got = server.far->receive_exactly(block.size()); });
        ASSERT_TRUE(wait_until([&] {
            while (relay.relay()) {
            }
            return got.size() == block.size();
        }));
        sender.join();
        receiver.join();
        ASSERT_EQ(got, block) << seed;
    }
    EXPECT_EQ(leg.passed, relay.consumed());
    EXPECT_EQ(leg.state, SOCKMAP_LEG_carried);
    client.far->send("x");
    EXPECT_EQ(server.far->receive_exactly(1), "x");
    EXPECT_EQ(leg.passed, relay.consumed());
}

// Between the two sockets' own buffers there is at most the limit, however small the segments are: counted as
// what the machine has less.
TEST_F(SockmapTest, StalledReaderCostsBoundedKernelMemoryHoweverSmallTheSegmentsAre) {
    const int small = 16384;
    const int on = 1;
    ::setsockopt(server.near->descriptor(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    ::setsockopt(server.far->descriptor(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    ::setsockopt(client.far->descriptor(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto in = insert();
    ASSERT_TRUE(in);
    const auto& leg = map.leg(in->pair, Sockmap::client);
    std::uint64_t sent = 0;
    const auto send_one = [&] {
        return ::send(client.far->descriptor(), "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
    };
    ASSERT_TRUE(wait_until([&] {
        for (int i = 0; i < 200 && send_one(); ++i)
            ++sent;
        return leg.passed > 0;
    }));
    EXPECT_LE(leg.held_old + leg.held_young, static_cast<std::uint32_t>(SOCKMAP_BACKLOG_BYTES_MAX));
    // Each segment of one byte costs some hundreds of bytes: by payload the limit would be far away.
    EXPECT_LT(leg.redirected, static_cast<std::uint64_t>(SOCKMAP_BACKLOG_BYTES_MAX) / 4);
    const std::uint64_t redirected = leg.redirected;
    for (int i = 0; i < 1000; ++i)
        sent += send_one() ? 1 : 0;
    EXPECT_EQ(leg.redirected, redirected);
    EXPECT_EQ(server.far->receive_exactly(redirected).size(), redirected);
}

TEST_F(SockmapTest, AThousandPairsInAndOutCarryEachTheirOwn) {
    for (int i = 0; i < 1000; ++i) {
        Leg one(netns);
        Leg other(netns);
        const std::string up = "up " + std::to_string(i);
        const std::string down = "down " + std::to_string(i);
        one.far->send(up);
        const auto in = map.insert(one.near->descriptor(), other.near->descriptor());
        ASSERT_TRUE(in) << i;
        other.far->send(down);
        ASSERT_EQ(other.far->receive_exactly(up.size()), up);
        ASSERT_EQ(one.far->receive_exactly(down.size()), down);
        ASSERT_EQ(map.leg(in->pair, Sockmap::client).redirected, up.size());
        map.remove(in->pair);
    }
}

// The insertion happens at any moment of a stream: nothing is lost or doubled around it.
TEST_F(SockmapTest, InsertedInTheMiddleOfAStreamItGoesOnWithTheNextByte) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        Leg one(netns);
        Leg other(netns);
        StreamSum sent;
        StreamSum received;
        std::jthread sender([&] { sent = send_stream(*one.far, seed, 3'000'000); });
        std::jthread receiver([&] { received = receive_stream(*other.far); });
        std::string buffer(10'000, '\0');
        std::uint64_t read = 0;
        for (std::uint64_t i = 0; i < seed; ++i) {
            const ssize_t n = ::recv(one.near->descriptor(), buffer.data(), buffer.size(), 0);
            ASSERT_GT(n, 0);
            read += static_cast<std::uint64_t>(n);
            other.near->send({buffer.data(), static_cast<std::size_t>(n)});
        }
        const std::uint64_t base = datapath::bytes_written(other.near->descriptor()).value();
        const auto in = map.insert(one.near->descriptor(), other.near->descriptor());
        ASSERT_TRUE(in);
        PassedBytes relay(map, in->pair, *one.near, *other.near, base);
        ASSERT_TRUE(wait_until([&] {
            while (relay.relay()) {
            }
            return relay.carried() == 3'000'000 - read && relay.drained();
        })) << map.leg(in->pair, Sockmap::client).redirected;
        other.near->shutdown_write();
        sender.join();
        receiver.join();
        ASSERT_TRUE(received == sent) << seed << ": " << received.bytes << " of " << sent.bytes;
        map.remove(in->pair);
    }
}

}  // namespace
}  // namespace sluice::test
