// The sockmap and its program between two pairs of sockets on the loopback, without an agent: each promise of
// userspace/datapath/sockmap.h, and each trap of the kernel that it steps around.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>
#include <thread>

#include "tests/kernel/sockmap_pair.h"

namespace sluice::test {
namespace {

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

// The FIN of a client that has not read yet what waits for it on both sides of the program.
TEST_F(SockmapTest, BareFinDoesNotBreakItsOwnSocketWhileBytesWaitForIt) {
    set_buffer(*client.near, SO_SNDBUF, 16384);
    set_buffer(*client.far, SO_RCVBUF, 16384);
    const std::uint64_t base = datapath::bytes_written(client.near->descriptor()).value();
    const auto in = insert();
    ASSERT_TRUE(in);
    PassedBytes down(map, in->pair, *server.near, *client.near, base, Sockmap::server);
    const std::string answer = ByteStream(1).next(400'000);
    server.far->send(answer);
    const auto& leg = map.leg(in->pair, Sockmap::server);
    ASSERT_TRUE(wait_until([&] { return leg.passed > 0; }));
    client.far->shutdown_write();
    pollfd end{.fd = client.near->descriptor(), .events = POLLRDHUP, .revents = 0};
    ASSERT_EQ(::poll(&end, 1, 5000), 1);
    EXPECT_EQ(end.revents & POLLERR, 0);
    std::string got;
    std::jthread reader([&] { got = client.far->receive_exactly(answer.size()); });
    EXPECT_TRUE(wait_until([&] {
        while (down.relay()) {
        }
        return down.carried() == answer.size();
    }));
    reader.join();
    EXPECT_EQ(got, answer);
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
