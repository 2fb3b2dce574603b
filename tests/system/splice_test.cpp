// Streams through the gateway: not one byte lost, added or reordered, whatever the links and the peers do.
// The proof of a stream is its SHA-256.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/byte_stream.h"
#include "tests/support/wait.h"
#include "tests/system/splice_modes.h"

namespace sluice::test {
namespace {

class SpliceStream : public SpliceModes {
  protected:
    static void expect_faithful_exchange(const Lab& lab, Gateway& gateway, std::uint64_t bytes);
};

INSTANTIATE_TEST_SUITE_P(Mode, SpliceStream, testing::Values("relay", "sockmap", "packet"),
                         [](const auto& mode) { return std::string(mode.param); });

// Both ends send `bytes` to each other at the same time and compare what came with what was sent.
void SpliceStream::expect_faithful_exchange(const Lab& lab, Gateway& gateway, std::uint64_t bytes) {
    StreamSum server_sent;
    StreamSum server_received;
    StreamSum client_sent;
    StreamSum client_received;
    policy::Endpoint source;
    std::atomic<bool> server_done = false;
    {
        Server server(lab, 7000, [&](TcpSocket& socket) {
            std::jthread sender([&] { errno_of([&] { server_sent = send_stream(socket, 2, bytes); }); });
            server_received = receive_stream(socket);
            sender.join();
            server_done = true;
        });
        TcpSocket client = dial(lab, Lab::server_v4(7000));
        source = client.local();
        std::jthread sender([&] { errno_of([&] { client_sent = send_stream(client, 1, bytes); }); });
        client_received = receive_stream(client);
        sender.join();
        gateway.wait_for("end", source);
        // The gateway is done when its kernel has the last bytes; they may still be on their way.
        EXPECT_TRUE(wait_until([&] { return server_done.load(); }));
    }
    EXPECT_EQ(server_received.bytes, bytes);
    EXPECT_TRUE(server_received == client_sent);
    EXPECT_TRUE(client_received == server_sent);
    const JsonRecord end = gateway.wait_for("end", source);
    EXPECT_EQ(end.text("end"), "closed") << end;
    EXPECT_EQ(end.number("bytes_up"), bytes + talk_bytes());
    EXPECT_EQ(end.number("bytes_down"), bytes + talk_bytes());
    // A stream that never calms down, or whose receiver is slower, is relayed by the sockmap.
    const std::string carried_by = end.text("mode");
    EXPECT_TRUE(is(carried_by) || (is("sockmap") && carried_by == "relay")) << end;
}

TEST_P(SpliceStream, CarriesAGigabyteEachWayAtOnceUnchanged) {
    const Lab lab;
    Gateway gateway(lab, allow_all());
    expect_faithful_exchange(lab, gateway, 1'000'000'000);
}

TEST_P(SpliceStream, CarriesEachWayUnchangedOverLosingReorderingDoublingLinks) {
    const Lab lab({.rough_client_link = true, .rough_server_link = true});
    Gateway gateway(lab, allow_all());
    expect_faithful_exchange(lab, gateway, 64'000'000);
}

TEST_P(SpliceStream, CarriesUnchangedBetweenLinksOfSmallMtu) {
    const Lab lab({.mtu = 1280});
    Gateway gateway(lab, allow_all());
    expect_faithful_exchange(lab, gateway, 20'000'000);
}

void read_slowly() {
    std::this_thread::sleep_for(1ms);
}  // the peer under test, not a wait

TEST_P(SpliceStream, SlowReaderGetsAllAndTheFinLast) {
    const Lab lab;
    StreamSum sent;
    Server server(lab, 7000, [&](TcpSocket& socket) {
        socket.receive_exactly(1);
        sent = send_stream(socket, 3, 30'000'000);
    });
    Gateway gateway(lab, allow_all());
    const std::uint64_t before = gateway.agent().resident_bytes();
    TcpSocket client = dial(lab, Lab::server_v4(7000), {.receive_buffer_bytes = 32'768});
    client.send("x");
    std::uint64_t most = 0;
    std::jthread watch([&](std::stop_token stop) {
        while (!stop.stop_requested()) {
            most = std::max(most, gateway.agent().resident_bytes());
            std::this_thread::sleep_for(50ms);
        }
    });
    const StreamSum received = receive_stream(client, 32'768, read_slowly);
    watch.request_stop();
    watch.join();
    EXPECT_EQ(received.end, StreamEnd::eof);
    EXPECT_TRUE(received == sent) << received.bytes;
    if (!sanitized())
        EXPECT_LT(most - before, 4'000'000u) << "the agent must not hold what its client does not read";
}

TEST_P(SpliceStream, QuestionsAndAnswersAreCarriedInTheModeAskedForAndCounted) {
    const Lab lab;
    Server server(lab, 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all());
    TcpSocket client = dial(lab, Lab::server_v4(7000));
    for (int i = 0; i < 500; ++i) {
        client.send("question");
        ASSERT_EQ(client.receive_exactly(8), "question");
    }
    ASSERT_TRUE(wait_until([&] {
        const auto flows = gateway.flows();
        return flows.size() == 1 && flows[0].number("bytes_up") == 4000 + talk_bytes() &&
               flows[0].number("bytes_down") == 4000 + talk_bytes();
    }));
    EXPECT_EQ(gateway.flows()[0].text("mode"), GetParam());
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
    const JsonRecord end = gateway.wait_for("end");
    EXPECT_EQ(end.text("end"), "closed");
    EXPECT_EQ(end.text("mode"), GetParam());
    EXPECT_EQ(end.number("bytes_up"), 4000 + talk_bytes());
    EXPECT_EQ(end.number("bytes_down"), 4000 + talk_bytes());
}

// Everything that the three hosts' TCP stacks had to say.
TEST_P(SpliceStream, NothingIsChecksummedWronglyBecauseOfUs) {
    const Lab lab;
    Server server(lab, 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all());
    TcpSocket client = dial(lab, Lab::server_v4(7000));
    for (const std::size_t bytes : {1u, 100u, 1460u, 1461u, 70'000u, 1'000'000u}) {
        for (std::uint64_t i = 0; i < 20; ++i) {
            const std::string block = ByteStream(i).next(bytes);
            std::jthread sender([&] { client.send(block); });
            ASSERT_EQ(client.receive_exactly(bytes), block) << bytes;
        }
    }
    for (const Netns* netns : {&lab.client(), &lab.gateway(), &lab.server()}) {
        EXPECT_EQ(netns->tcp_counter("InCsumErrors"), 0u) << netns->name();
        EXPECT_EQ(netns->tcp_counter("InErrs"), 0u) << netns->name();
    }
}

TEST_P(SpliceStream, FlowGoesOnAfterAStalledReaderHasCaughtUp) {
    const Lab lab;
    Server server(lab, 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all());
    TcpSocket client = dial(lab, Lab::server_v4(7000), {.receive_buffer_bytes = 32'768});
    for (std::uint64_t round = 0; round < 3; ++round) {
        const std::string block = ByteStream(round).next(8'000'000);
        std::jthread sender([&] { client.send(block); });
        // Nothing is read until the first bytes have come back through both directions.
        ASSERT_TRUE(wait_until([&] { return client.bytes_readable() > 16'384; }));
        ASSERT_EQ(client.receive_exactly(block.size()), block);
        sender.join();
        ASSERT_TRUE(wait_until([&] {  // given back to the kernel when it has calmed down
            const auto flows = gateway.flows();
            return flows.size() == 1 && flows[0].text("mode") == GetParam();
        }));
        client.send("x");
        EXPECT_EQ(client.receive_exactly(1), "x");
    }
}

TEST_P(SpliceStream, SlowServerGetsAllAndTheFinLast) {
    const Lab lab;
    StreamSum received;
    Server server(
        lab, 7000,
        [&](TcpSocket& socket) {
            received = receive_stream(socket, 32'768, read_slowly);
            socket.send("done");
        },
        32'768);
    Gateway gateway(lab, allow_all());
    TcpSocket client = dial(lab, Lab::server_v4(7000));
    const StreamSum sent = send_stream(client, 4, 10'000'000);
    EXPECT_EQ(client.receive_exactly(4), "done");
    EXPECT_TRUE(received == sent) << received.bytes;
}

TEST_P(SpliceStream, ManyFlowsAtOnceKeepApart) {
    const Lab lab;
    Server server(lab, 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all());
    std::vector<std::jthread> clients;
    std::atomic<int> faithful = 0;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        clients.emplace_back([&, seed] {
            TcpSocket client = dial(lab, Lab::server_v4(7000));
            StreamSum sent;
            std::jthread sender([&] { sent = send_stream(client, seed, 400'000 + seed); });
            const StreamSum received = receive_stream(client);
            sender.join();
            if (received == sent) ++faithful;
        });
    }
    clients.clear();
    EXPECT_EQ(faithful, 50);
}

}  // namespace
}  // namespace sluice::test
