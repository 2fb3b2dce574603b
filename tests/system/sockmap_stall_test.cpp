// Splice mode sockmap between two peers that send and do not read: what the gateway then holds, and that a
// direction whose reader has come to life goes on, whatever the other one does.
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/gateway.h"
#include "tests/support/tcp_server.h"
#include "tests/support/wait.h"

namespace sluice::test {
namespace {

constexpr std::size_t flows = 8;
constexpr std::size_t above_buffers_max = 1 << 20;
// Far beyond all buffers: a sender that gets so far is not being stopped.
constexpr std::size_t never_stops = 64 << 20;

// What stands at each position of every stream: a repetition with a period that no buffer's size divides.
const std::string& pattern() {
    static const std::string bytes = [] {
        std::string all(1'000'003, '\0');
        for (std::size_t i = 0; i < all.size(); ++i)
            all[i] = static_cast<char>((i * 2654435761u) >> 16);
        return all;
    }();
    return bytes;
}

std::string_view pattern_at(std::size_t position, std::size_t bytes_max) {
    return std::string_view(pattern()).substr(position % pattern().size(), bytes_max);
}

// One end of a flow, which sends what it can without waiting.
struct Peer {
    explicit Peer(TcpSocket with) : socket(std::move(with)) {}

    bool send_some() {
        const std::string_view bytes = pattern_at(sent, 65'536);
        const ssize_t n =
            ::send(socket.descriptor(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) sent += static_cast<std::size_t>(n);
        return n > 0;
    }
    // Of what it has sent: acknowledged by the gateway.
    std::size_t acknowledged() const {
        int queued = 0;
        ::ioctl(socket.descriptor(), SIOCOUTQ, &queued);
        return sent - static_cast<std::size_t>(queued);
    }
    void expect_to_read(std::size_t bytes) {
        std::size_t read = 0;
        while (read < bytes) {
            StreamEnd end = StreamEnd::silence;
            const std::string got = socket.receive_some(std::min<std::size_t>(65'536, bytes - read), end);
            ASSERT_FALSE(got.empty()) << "stuck after " << read << " of " << bytes;
            for (std::size_t at = 0; at < got.size();) {
                const std::string_view expected = pattern_at(read + at, got.size() - at);
                ASSERT_EQ(std::string_view(got).substr(at, expected.size()), expected) << read + at;
                at += expected.size();
            }
            read += got.size();
        }
    }

    TcpSocket socket;
    std::size_t sent = 0;
};

// The sizes to which the buffers of the gateway's connected sockets may grow at present, as `ss -tm` says.
std::size_t buffers_of_the_gateway(const Lab& lab) {
    const Finished ss = run_process({"ss", "-tmnH", "state", "established"}, {.netns = &lab.gateway()});
    std::size_t total = 0;
    for (const char* word : {",rb", ",tb"}) {
        for (std::size_t at = ss.out.find(word); at != ss.out.npos; at = ss.out.find(word, at + 1))
            total += std::stoul(ss.out.substr(at + 3));
    }
    return total;
}

class SockmapStall : public testing::Test {
  protected:
    void SetUp() override {
        for (std::size_t i = 0; i < flows; ++i) {
            TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
            for (int turn = 0; turn < 8; ++turn) {  // a dialogue: it is lent to the sockmap
                client.send("x");
                ASSERT_EQ(client.receive_exactly(1), "x");
            }
            clients.emplace_back(std::move(client));
            ASSERT_TRUE(wait_until([&] {
                const std::lock_guard lock(mutex);
                return servers.size() == i + 1;
            }));
        }
        ASSERT_TRUE(wait_until([&] { return gateway.flows({"mode=sockmap"}).size() == flows; }));
    }
    void TearDown() override { over = true; }

    // Until nobody has got anywhere for a while.
    void send_until_all_are_stopped() {
        for (int quiet = 0; quiet < 50; ++quiet) {
            for (auto* peers : {&clients, &servers}) {
                for (Peer& peer : *peers) {
                    while (peer.send_some())
                        quiet = 0;
                    ASSERT_LT(peer.sent, never_stops);
                }
            }
            std::this_thread::sleep_for(10ms);
        }
    }

    const Lab lab;
    std::mutex mutex;
    std::vector<Peer> clients;
    std::vector<Peer> servers;  // in the clients' order
    std::atomic<bool> over = false;
    TcpServer server{lab.server(), 7000, [&](TcpSocket& socket) {
                         for (int turn = 0; turn < 8; ++turn)
                             socket.send(socket.receive_exactly(1));
                         {
                             const std::lock_guard lock(mutex);
                             servers.emplace_back(TcpSocket(::dup(socket.descriptor())));
                         }
                         wait_until([&] { return over.load(); }, 5min);
                     }};
    Gateway gateway{lab, "splice: sockmap\npeek: {silence_ms: 100}\npolicy: {default: allow}\n"};
};

TEST_F(SockmapStall, HoldsAtMostAMebibyteAboveTheSocketsOwnBuffersPerFlow) {
    ASSERT_NO_FATAL_FAILURE(send_until_all_are_stopped());
    std::size_t held = 0;
    for (std::size_t i = 0; i < flows; ++i) {
        held += clients[i].acknowledged() - servers[i].socket.bytes_readable();
        held += servers[i].acknowledged() - clients[i].socket.bytes_readable();
    }
    const std::size_t buffers = buffers_of_the_gateway(lab);
    EXPECT_GT(held, flows * 65'536) << "the test does not test";
    EXPECT_LE(held, buffers + flows * above_buffers_max);
    RecordProperty("held", std::to_string(held));
    RecordProperty("buffers", std::to_string(buffers));
}

TEST_F(SockmapStall, EachDirectionGoesOnWhileTheOtherIsStillStuck) {
    ASSERT_NO_FATAL_FAILURE(send_until_all_are_stopped());
    for (std::size_t i = 0; i < flows; ++i)
        ASSERT_NO_FATAL_FAILURE(servers[i].expect_to_read(clients[i].sent)) << i;
    // The clients have read nothing yet.
    for (std::size_t i = 0; i < flows; ++i)
        ASSERT_NO_FATAL_FAILURE(clients[i].expect_to_read(servers[i].sent)) << i;
}

}  // namespace
}  // namespace sluice::test
