// Segments that begin before the byte that the sockmap's program expects: a peer that repacketises what it
// retransmits.
#include <gtest/gtest.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>

#include "tests/kernel/sockmap_pair.h"

namespace sluice::test {
namespace {

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
    set(fd, TCP_MAXSEG, 30'000);
    EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&local), sizeof local), 0) << errno;
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&peer), sizeof peer), 0) << errno;
    set(fd, TCP_REPAIR_WINDOW, window);
    set(fd, TCP_REPAIR, int{TCP_REPAIR_OFF_NO_WP});
    return TcpSocket(fd);
}

TEST_F(SockmapTest, OverlappingSegmentsAreForwardedOnce) {
    for (const char* option : {"tcp_timestamps", "tcp_window_scaling", "tcp_sack"})
        netns.sysctl(std::string("net/ipv4/") + option, "0");
    // Below, at and above what the kernel cuts off at once, and nearly a whole segment.
    for (const std::uint32_t overlap : {1u, 300u, 4095u, 4096u, 9000u, 20'000u}) {
        Leg from(netns);
        Leg to(netns);
        const auto in = map.insert(from.near->descriptor(), to.near->descriptor());
        ASSERT_TRUE(in);
        const std::string stream = ByteStream(overlap).next(60'000);
        from.far->send(stream.substr(0, 30'000));
        ASSERT_EQ(to.far->receive_exactly(30'000), stream.substr(0, 30'000));
        TcpSocket again = send_again_from(netns, std::move(*from.far), overlap);
        // In segments of up to 30,000 bytes, of which the first begins with what the other one has had.
        again.send(stream.substr(30'000 - overlap));
        EXPECT_EQ(to.far->receive_exactly(30'000), stream.substr(30'000)) << overlap;
        EXPECT_EQ(map.leg(in->pair, Sockmap::client).redirected, stream.size()) << overlap;
        to.far->send("and back");
        EXPECT_EQ(again.receive_exactly(8), "and back");
        EXPECT_EQ(to.far->bytes_readable(), 0u);
        map.remove(in->pair);
    }
}

}  // namespace
}  // namespace sluice::test
