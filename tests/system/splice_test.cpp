// Streams through the gateway: not one byte lost, added or reordered, whatever the links and the peers do;
// ends passed on as they were, each after the last byte. The proof of a stream is its SHA-256.
#include <gtest/gtest.h>

#include <sys/socket.h>
#include <atomic>

#include <csignal>
#include <thread>

#include "tests/support/byte_stream.h"
#include "tests/support/exchange.h"
#include "tests/support/gateway.h"
#include "tests/support/tcp_server.h"
#include "tests/support/wait.h"

namespace sluice::test {
namespace {

// The parameter is the mode that the operator forces: all keep the same promises.
class Splice : public testing::TestWithParam<const char*> {
  protected:
    static std::string allow_all(std::string_view more = {}) {
        return "splice: " + std::string(GetParam()) + "\n" + std::string(more) +
               "peek: {silence_ms: 100}\npolicy: {default: allow}\n";
    }
    static bool is(std::string_view mode) { return GetParam() == mode; }
};

INSTANTIATE_TEST_SUITE_P(Mode, Splice, testing::Values("relay", "sockmap", "packet"),
                         [](const auto& mode) { return std::string(mode.param); });

// Both ends send `bytes` to each other at the same time.
void expect_faithful_exchange(const Lab& lab, Gateway& gateway, std::uint64_t bytes, const char* mode) {
    const Exchange exchange = exchange_streams(lab, gateway, bytes);
    EXPECT_TRUE(exchange.is_faithful(bytes));
    const JsonRecord& end = exchange.end;
    EXPECT_EQ(end.text("end"), "closed") << end;
    EXPECT_EQ(end.number("bytes_up"), bytes);
    EXPECT_EQ(end.number("bytes_down"), bytes);
    // A stream that never calms down, or whose receiver is slower, is relayed by the sockmap.
    const std::string carried_by = end.text("mode");
    EXPECT_TRUE(carried_by == mode || (std::string_view(mode) == "sockmap" && carried_by == "relay")) << end;
}

TEST_P(Splice, CarriesAGigabyteEachWayAtOnceUnchanged) {
    const Lab lab;
    Gateway gateway(lab, allow_all());
    expect_faithful_exchange(lab, gateway, 1'000'000'000, GetParam());
}

TEST_P(Splice, CarriesEachWayUnchangedOverLosingReorderingDoublingLinks) {
    const Lab lab({.rough_client_link = true, .rough_server_link = true});
    Gateway gateway(lab, allow_all());
    expect_faithful_exchange(lab, gateway, 64'000'000, GetParam());
}

TEST_P(Splice, CarriesUnchangedBetweenLinksOfSmallMtu) {
    const Lab lab({.mtu = 1280});
    Gateway gateway(lab, allow_all());
    expect_faithful_exchange(lab, gateway, 20'000'000, GetParam());
}

void read_slowly() {
    std::this_thread::sleep_for(1ms);
}  // the peer under test, not a wait

TEST_P(Splice, SlowReaderGetsAllAndTheFinLast) {
    const Lab lab;
    StreamSum sent;
    TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
        socket.receive_exactly(1);
        sent = send_stream(socket, 3, 30'000'000);
    });
    Gateway gateway(lab, allow_all());
    const std::uint64_t before = gateway.agent().resident_bytes();
    TcpSocket client =
        TcpSocket::connect(lab.client(), Lab::server_v4(7000), {.receive_buffer_bytes = 32'768});
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

TEST_P(Splice, QuestionsAndAnswersAreCarriedInTheModeAskedForAndCounted) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all());
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    for (int i = 0; i < 500; ++i) {
        client.send("question");
        ASSERT_EQ(client.receive_exactly(8), "question");
    }
    ASSERT_TRUE(wait_until([&] {
        const auto flows = gateway.flows();
        return flows.size() == 1 && flows[0].number("bytes_up") == 4000 &&
               flows[0].number("bytes_down") == 4000;
    }));
    EXPECT_EQ(gateway.flows()[0].text("mode"), GetParam());
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
    const JsonRecord end = gateway.wait_for("end");
    EXPECT_EQ(end.text("end"), "closed");
    EXPECT_EQ(end.text("mode"), GetParam());
    EXPECT_EQ(end.number("bytes_up"), 4000u);
    EXPECT_EQ(end.number("bytes_down"), 4000u);
}

// Everything that the three hosts' TCP stacks had to say.
TEST_P(Splice, NothingIsChecksummedWronglyBecauseOfUs) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all());
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
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

TEST(SpliceChoice, AutoChoosesPacketsAndSaysThatItDoesNotChooseTheSockmap) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, "peek: {silence_ms: 100}\npolicy: {default: allow}\n");
    TcpSocket messages = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    for (int i = 0; i < 50; ++i) {
        messages.send("question");
        ASSERT_EQ(messages.receive_exactly(8), "question");
    }
    messages.shutdown_write();
    EXPECT_EQ(messages.receive_to_end().end, StreamEnd::eof);
    EXPECT_EQ(gateway.wait_for("end", messages.local()).text("mode"), "packet");
    EXPECT_NE(gateway.sluice({"status"}).out.find("passed; auto does not choose this mode"),
              std::string::npos);
}

// Without a loopback address the self-test cannot pass.
TEST(SpliceChoice, WhereTheSelfTestFailsAutoServesAndAForcedSockmapDoesNotStart) {
    const Lab lab;
    lab.gateway().ip("address del 127.0.0.1/8 dev lo");
    {
        TcpServer server(lab.server(), 7000, TcpServer::echo);
        Gateway gateway(lab, "peek: {silence_ms: 100}\npolicy: {default: allow}\n");
        TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
        for (int i = 0; i < 50; ++i) {
            client.send("question");
            ASSERT_EQ(client.receive_exactly(8), "question");
        }
        client.shutdown_write();
        EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
        EXPECT_NE(gateway.wait_for("end").text("mode"), "sockmap");
        EXPECT_NE(gateway.sluice({"status"}).out.find("no TCP on the loopback"), std::string::npos);
    }
    try {
        const Gateway gateway(lab, "splice: sockmap\npolicy: {default: allow}\n");
        FAIL() << "it started";
    } catch (const std::exception& error) {
        const std::string said = error.what();
        EXPECT_NE(said.find("splice: sockmap: this kernel does not pass the test: no TCP on the loopback"),
                  std::string::npos)
            << said;
    }
}

TEST_P(Splice, FlowGoesOnAfterAStalledReaderHasCaughtUp) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all());
    TcpSocket client =
        TcpSocket::connect(lab.client(), Lab::server_v4(7000), {.receive_buffer_bytes = 32'768});
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

TEST_P(Splice, SlowServerGetsAllAndTheFinLast) {
    const Lab lab;
    StreamSum received;
    TcpServer server(
        lab.server(), 7000,
        [&](TcpSocket& socket) {
            received = receive_stream(socket, 32'768, read_slowly);
            socket.send("done");
        },
        32'768);
    Gateway gateway(lab, allow_all());
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    const StreamSum sent = send_stream(client, 4, 10'000'000);
    EXPECT_EQ(client.receive_exactly(4), "done");
    EXPECT_TRUE(received == sent) << received.bytes;
}

TEST_P(Splice, ClientMayFinishFirstAndStillGetTheAnswer) {
    const Lab lab;
    TcpServer server(lab.server(), 43, [](TcpSocket& socket) {
        const Received question = socket.receive_to_end();
        if (question.end == StreamEnd::eof) socket.send("you asked: " + question.bytes);
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(43));
    client.send("who?");
    client.shutdown_write();
    const Received answer = client.receive_to_end();
    EXPECT_EQ(answer.bytes, "you asked: who?");
    EXPECT_EQ(answer.end, StreamEnd::eof);
    EXPECT_EQ(gateway.wait_for("end", client.local()).text("end"), "closed");
}

TEST_P(Splice, ServerMayFinishFirstAndStillHearTheRest) {
    const Lab lab;
    StreamSum received;
    std::atomic<bool> server_done = false;
    TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
        socket.send("last words");
        socket.shutdown_write();
        received = receive_stream(socket);
        server_done = true;
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    const Received words = client.receive_to_end();
    EXPECT_EQ(words.bytes, "last words");
    EXPECT_EQ(words.end, StreamEnd::eof);
    const StreamSum sent = send_stream(client, 5, 3'000'000);
    EXPECT_EQ(gateway.wait_for("end", client.local()).text("end"), "closed");
    ASSERT_TRUE(wait_until([&] { return server_done.load(); }));
    EXPECT_TRUE(received == sent) << received.bytes;
}

TEST_P(Splice, ServersResetReachesTheClient) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, [](TcpSocket& socket) {
        socket.receive_exactly(4);
        socket.reset();
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    client.send("ping");
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("end").text("end"), "server_reset");
}

TEST_P(Splice, ClientsResetReachesTheServer) {
    const Lab lab;
    std::atomic<int> end = -1;
    TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
        socket.send(socket.receive_exactly(4));
        end = static_cast<int>(socket.receive_to_end().end);
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    client.send("ping");
    EXPECT_EQ(client.receive_exactly(4), "ping");
    client.reset();
    EXPECT_EQ(gateway.wait_for("end").text("end"), "client_reset");
    ASSERT_TRUE(wait_until([&] { return end >= 0; }));
    EXPECT_EQ(end, static_cast<int>(StreamEnd::reset));
}

TEST_P(Splice, ResetWhileTheOtherSideDoesNotReadEndsTheFlow) {
    const Lab lab;
    std::atomic<bool> reset = false;
    TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
        socket.receive_exactly(1);
        const std::string block(1'000'000, 'x');
        while (!reset)
            reset = errno_of([&] { socket.send(block); }) != 0;
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client =
        TcpSocket::connect(lab.client(), Lab::server_v4(7000), {.receive_buffer_bytes = 8'192});
    client.send("x");
    ASSERT_TRUE(wait_until([&] { return client.bytes_readable() > 4'096; }));
    client.reset();
    EXPECT_EQ(gateway.wait_for("end").text("end"), "client_reset");
    EXPECT_TRUE(wait_until([&] { return reset.load(); }));
}

// Reads stop at an urgent mark, and splice(2) even pretends that the stream ends there.
TEST_P(Splice, UrgentBytesAreBytesOfTheStreamAndStallNothing) {
    const Lab lab;
    StreamSum received;
    std::atomic<bool> server_done = false;
    TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
        const int on = 1;
        ::setsockopt(socket.descriptor(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
        socket.send("go");
        received = receive_stream(socket);
        server_done = true;
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    const policy::Endpoint source = client.local();
    EXPECT_EQ(client.receive_exactly(2), "go");
    ByteStream stream(1);
    Sha256 sum;
    std::uint64_t sent = 0;
    gateway.agent().signal(SIGSTOP);  // so that all of it waits for the agent at once
    for (const std::size_t bytes : {200'000u, 1u, 300'000u, 1u, 50u}) {
        const std::string block = stream.next(bytes);
        sum.add(block);
        sent += bytes;
        if (bytes == 1) {
            ::send(client.descriptor(), block.data(), 1, MSG_OOB);
        } else {
            if (bytes > 250'000) gateway.agent().signal(SIGCONT);
            client.send(block);
        }
    }
    client.shutdown_write();
    const JsonRecord end = gateway.wait_for("end", source);
    EXPECT_EQ(end.text("end"), "closed") << end;
    EXPECT_EQ(end.number("bytes_up"), sent);
    ASSERT_TRUE(wait_until([&] { return server_done.load(); }));
    EXPECT_EQ(received.end, StreamEnd::eof);
    EXPECT_EQ(received.bytes, sent);
    EXPECT_EQ(received.sha256, sum.hex());
}

// A read that stops at the mark is short though more is there, and no further event announces it.
TEST_P(Splice, UrgentByteHoldsBackNothingBehindIt) {
    const Lab lab;
    const std::string block = ByteStream(1).next(1000);
    const std::string all = block + "!" + block;
    const auto send_urgently = [&](TcpSocket& socket) {
        socket.send(block);
        ::send(socket.descriptor(), "!", 1, MSG_OOB);
        socket.send(block);
    };
    const auto inline_urgent_data = [](const TcpSocket& socket) {
        const int on = 1;
        ::setsockopt(socket.descriptor(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
    };
    TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
        inline_urgent_data(socket);
        socket.send("go");
        EXPECT_EQ(socket.receive_exactly(all.size()), all);
        send_urgently(socket);
        socket.receive_to_end();
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    inline_urgent_data(client);
    EXPECT_EQ(client.receive_exactly(2), "go");
    gateway.agent().signal(SIGSTOP);  // so that all of it waits for the agent at once
    send_urgently(client);
    gateway.agent().signal(SIGCONT);
    EXPECT_EQ(client.receive_exactly(all.size()), all);
}

TEST_P(Splice, IdleFlowIsEndedOnBothSides) {
    const Lab lab;
    std::atomic<bool> ended = false;
    TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
        TcpServer::echo(socket);
        ended = true;
    });
    Gateway gateway(lab, allow_all("timeouts: {idle_s: 1}\n"));
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    client.send("x");
    EXPECT_EQ(client.receive_exactly(1), "x");
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_TRUE(wait_until([&] { return ended.load(); }));
    const JsonRecord end = gateway.wait_for("end");
    EXPECT_EQ(end.text("end"), "idle_timeout");
    EXPECT_GE(end.number("total_ms"), 1'000u);
    EXPECT_LT(end.number("total_ms"), 4'000u);
}

TEST_P(Splice, BusyFlowOutlivesTheIdleTimeout) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all("timeouts: {idle_s: 1}\n"));
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    const auto end = std::chrono::steady_clock::now() + 2500ms;
    while (std::chrono::steady_clock::now() < end) {
        client.send("x");
        ASSERT_EQ(client.receive_exactly(1), "x");
        std::this_thread::sleep_for(200ms);  // a chatty client
    }
}

TEST_P(Splice, HalfClosedFlowIsEndedWhenTheOtherHalfStaysSilent) {
    const Lab lab;
    std::atomic<bool> over = false;
    TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
        socket.receive_to_end();  // the client's FIN; a server that forgets to answer it
        wait_until([&] { return over.load(); });
    });
    Gateway gateway(lab, allow_all("timeouts: {half_close_s: 1}\n"));
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    client.send("x");
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("end").text("end"), "half_close_timeout");
    over = true;
}

TEST_P(Splice, ManyFlowsAtOnceKeepApart) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all());
    std::vector<std::jthread> clients;
    std::atomic<int> faithful = 0;
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        clients.emplace_back([&, seed] {
            TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
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
