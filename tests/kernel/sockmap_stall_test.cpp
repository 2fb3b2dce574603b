// The sockmap's program and readers that are slow, or have stopped: bounded memory, and no byte lost, doubled
// or stuck.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <atomic>
#include <string>
#include <thread>
#include <utility>

#include "tests/kernel/sockmap_pair.h"

namespace sluice::test {
namespace {

TEST_F(SockmapTest, BytesThatComeTooFastArePassedInOrderAndTheKernelGoesOnAfterThem) {
    const std::uint64_t base = datapath::bytes_written(server.near->descriptor()).value();
    const auto in = insert();
    ASSERT_TRUE(in);
    PassedBytes relay(map, in->pair, *client.near, *server.near, base);
    const auto& leg = map.leg(in->pair, Sockmap::client);
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
        const std::string block = ByteStream(seed).next(20'000'000);
        const std::uint64_t passed_before = leg.passed;
        std::jthread sender([&] { client.far->send(block); });
        // The server reads nothing until the program has had enough.
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

// Two senders that never stop and two readers that never begin: what is passed must not wait, charged to
// nobody, behind what the same socket has yet to send.
TEST_F(SockmapTest, BothReadersMayStallAndThenEachDirectionGoesOnWithoutTheOther) {
    constexpr int small = 65'536;
    for (Leg* leg : {&client, &server}) {
        set_buffer(*leg->far, SO_SNDBUF, small);
        set_buffer(*leg->far, SO_RCVBUF, small);
        set_buffer(*leg->near, SO_SNDBUF, small);
        set_buffer(*leg->near, SO_RCVBUF, small);
    }
    const std::uint64_t base_up = datapath::bytes_written(server.near->descriptor()).value();
    const std::uint64_t base_down = datapath::bytes_written(client.near->descriptor()).value();
    const auto in = insert();
    ASSERT_TRUE(in);
    PassedBytes up(map, in->pair, *client.near, *server.near, base_up);
    PassedBytes down(map, in->pair, *server.near, *client.near, base_down, Sockmap::server);
    const std::string stream = ByteStream(1).next(8'000'000);
    std::atomic<std::size_t> sent_up = 0;
    std::atomic<std::size_t> sent_down = 0;
    const auto send_all = [&](TcpSocket& socket, std::atomic<std::size_t>& sent) {
        constexpr std::size_t chunk = 8000;
        for (; sent < stream.size(); sent += chunk)
            socket.send(std::string_view(stream).substr(sent, chunk));
    };
    std::jthread sender_up([&] { send_all(*client.far, sent_up); });
    std::jthread sender_down([&] { send_all(*server.far, sent_down); });
    const auto work = [&] {
        while (up.relay() || down.relay()) {
        }
    };
    // Until both have got nowhere for a while.
    std::size_t last = 1;
    for (int quiet = 0; quiet < 20; ++quiet) {
        if (std::exchange(last, sent_up + sent_down) != sent_up + sent_down) quiet = 0;
        ASSERT_LT(sent_up + sent_down, stream.size()) << "nothing stops them";
        std::this_thread::sleep_for(10ms);
        work();
    }
    // Each way four buffers of twice `small`, each of which may be exceeded by one segment of 64 KiB.
    EXPECT_LT(sent_up, 24u * small);
    EXPECT_LT(sent_down, 24u * small);
    for (const auto& [reader, direction] : {std::pair(&server, &up), std::pair(&client, &down)}) {
        std::string got;
        std::jthread receiver([&] { got = reader->far->receive_exactly(stream.size()); });
        EXPECT_TRUE(wait_until([&] {
            work();
            return direction->carried() == stream.size() && direction->drained();
        }));
        receiver.join();
        EXPECT_EQ(got, stream);
    }
}

}  // namespace
}  // namespace sluice::test
