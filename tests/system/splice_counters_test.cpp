// What the TCP stacks of all three hosts count over clean links: no mode makes them repeat more than plain
// forwarding does, nor refuse anything.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/byte_stream.h"
#include "tests/support/wait.h"
#include "tests/system/splice_modes.h"

namespace sluice::test {
namespace {

class SpliceCounters : public SpliceModes {
  protected:
    struct Counts {
        std::uint64_t sent = 0;
        std::uint64_t again = 0;
        std::uint64_t wrong = 0;
    };
    static Counts counts(const Lab& lab) {
        Counts sum;
        for (const Netns* netns : {&lab.client(), &lab.gateway(), &lab.server()}) {
            sum.sent += netns->tcp_counter("OutSegs");
            sum.again += netns->tcp_counter("RetransSegs");
            sum.wrong += netns->tcp_counter("InCsumErrors") + netns->tcp_counter("InErrs");
        }
        return sum;
    }
    struct Traffic {
        std::uint64_t flows;
        int turns;            // of a dialogue,
        std::uint64_t bytes;  // and then both ways at once
        std::uint64_t again_per_thousand = 5;
    };
    static Counts carry(const Lab& lab, const Traffic& traffic) {
        const TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
            for (int i = 0; i < traffic.turns; ++i)
                socket.send(socket.receive_exactly(100));
            std::jthread sender([&] { send_stream(socket, 2, traffic.bytes); });
            receive_stream(socket);
        });
        std::vector<std::jthread> clients;
        std::atomic<std::uint64_t> whole = 0;
        for (std::uint64_t i = 0; i < traffic.flows; ++i) {
            clients.emplace_back([&] {
                TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
                for (int turn = 0; turn < traffic.turns; ++turn) {
                    client.send(std::string(100, 'q'));
                    client.receive_exactly(100);
                }
                std::jthread sender([&] { send_stream(client, 1, traffic.bytes); });
                if (receive_stream(client).bytes == traffic.bytes) ++whole;
            });
        }
        clients.clear();
        EXPECT_EQ(whole, traffic.flows);
        return counts(lab);
    }
    static Counts carry_by_a_gateway(const Traffic& traffic) {
        const Lab lab;
        const Gateway gateway(lab, allow_all());
        return carry(lab, traffic);
    }
    // A busy machine answers late now and then, and a sender then repeats (RFC 8985 7), with and without us:
    // so it counts what comes back each time.
    static void expect_as_forwarded(const Traffic& traffic) {
        std::string seen;
        for (int attempt = 0; attempt < 3; ++attempt) {
            const Counts forwarded = carry(Lab(), traffic);
            const Counts spliced = carry_by_a_gateway(traffic);
            EXPECT_EQ(spliced.wrong, 0u);
            if (spliced.again <= 2 * forwarded.again + 10 + spliced.sent * traffic.again_per_thousand / 1000)
                return;
            seen += std::to_string(spliced.again) + " of " + std::to_string(spliced.sent) +
                    ", forwarded: " + std::to_string(forwarded.again) + " of " +
                    std::to_string(forwarded.sent) + "\n";
        }
        ADD_FAILURE() << "repeated: " << seen;
    }
};

INSTANTIATE_TEST_SUITE_P(Mode, SpliceCounters, testing::Values("relay", "sockmap", "packet"),
                         [](const auto& mode) { return std::string(mode.param); });

TEST_P(SpliceCounters, DialoguesAreRepeatedNoMoreThanByForwarding) {
    expect_as_forwarded({.flows = 64, .turns = 200, .bytes = 0});
}

TEST_P(SpliceCounters, StreamsBothWaysAreRepeatedNoMoreThanByForwarding) {
    expect_as_forwarded({.flows = 16, .turns = 0, .bytes = 1'000'000});
}

// The sockmap cannot give back what was lent to it, and on a busy machine stops such a sender by losing
// segments (SOCKMAP_STRAY_BYTES_MAX).
TEST_P(SpliceCounters, DialoguesThatTurnIntoStreamsAreHardlyRepeated) {
    expect_as_forwarded(
        {.flows = 16, .turns = 100, .bytes = 1'000'000, .again_per_thousand = is("sockmap") ? 40u : 5u});
}

}  // namespace
}  // namespace sluice::test
