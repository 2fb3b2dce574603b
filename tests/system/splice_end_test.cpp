// The ends of streams through the gateway: passed on as they were, each after the last byte; and urgent
// bytes, which look like one.
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

class SpliceEnd : public SpliceModes {};

INSTANTIATE_TEST_SUITE_P(Mode, SpliceEnd, testing::Values("relay", "sockmap", "packet"),
                         [](const auto& mode) { return std::string(mode.param); });

TEST_P(SpliceEnd, ClientMayFinishFirstAndStillGetTheAnswer) {
    const Lab lab;
    Server server(lab, 43, [](TcpSocket& socket) {
        const Received question = socket.receive_to_end();
        if (question.end == StreamEnd::eof) socket.send("you asked: " + question.bytes);
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = dial(lab, Lab::server_v4(43));
    client.send("who?");
    client.shutdown_write();
    const Received answer = client.receive_to_end();
    EXPECT_EQ(answer.bytes, "you asked: who?");
    EXPECT_EQ(answer.end, StreamEnd::eof);
    EXPECT_EQ(gateway.wait_for("end", client.local()).text("end"), "closed");
}

TEST_P(SpliceEnd, ServerMayFinishFirstAndStillHearTheRest) {
    const Lab lab;
    StreamSum received;
    std::atomic<bool> server_done = false;
    Server server(lab, 7000, [&](TcpSocket& socket) {
        socket.send("last words");
        socket.shutdown_write();
        received = receive_stream(socket);
        server_done = true;
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = dial(lab, Lab::server_v4(7000));
    const Received words = client.receive_to_end();
    EXPECT_EQ(words.bytes, "last words");
    EXPECT_EQ(words.end, StreamEnd::eof);
    const StreamSum sent = send_stream(client, 5, 3'000'000);
    EXPECT_EQ(gateway.wait_for("end", client.local()).text("end"), "closed");
    ASSERT_TRUE(wait_until([&] { return server_done.load(); }));
    EXPECT_TRUE(received == sent) << received.bytes;
}

TEST_P(SpliceEnd, ServersResetReachesTheClient) {
    const Lab lab;
    Server server(lab, 7000, [](TcpSocket& socket) {
        socket.receive_exactly(4);
        socket.reset();
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = dial(lab, Lab::server_v4(7000));
    client.send("ping");
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("end").text("end"), "server_reset");
}

TEST_P(SpliceEnd, ClientsResetReachesTheServer) {
    const Lab lab;
    std::atomic<int> end = -1;
    Server server(lab, 7000, [&](TcpSocket& socket) {
        socket.send(socket.receive_exactly(4));
        end = static_cast<int>(socket.receive_to_end().end);
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = dial(lab, Lab::server_v4(7000));
    client.send("ping");
    EXPECT_EQ(client.receive_exactly(4), "ping");
    client.reset();
    EXPECT_EQ(gateway.wait_for("end").text("end"), "client_reset");
    ASSERT_TRUE(wait_until([&] { return end >= 0; }));
    EXPECT_EQ(end, static_cast<int>(StreamEnd::reset));
}

TEST_P(SpliceEnd, ResetWhileTheOtherSideDoesNotReadEndsTheFlow) {
    const Lab lab;
    std::atomic<bool> reset = false;
    Server server(lab, 7000, [&](TcpSocket& socket) {
        socket.receive_exactly(1);
        const std::string block(1'000'000, 'x');
        while (!reset)
            reset = errno_of([&] { socket.send(block); }) != 0;
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = dial(lab, Lab::server_v4(7000), {.receive_buffer_bytes = 8'192});
    client.send("x");
    ASSERT_TRUE(wait_until([&] { return client.bytes_readable() > 4'096; }));
    client.reset();
    EXPECT_EQ(gateway.wait_for("end").text("end"), "client_reset");
    EXPECT_TRUE(wait_until([&] { return reset.load(); }));
}

// Reads stop at an urgent mark, and splice(2) even pretends that the stream ends there.
TEST_P(SpliceEnd, UrgentBytesAreBytesOfTheStreamAndStallNothing) {
    const Lab lab;
    StreamSum received;
    std::atomic<bool> server_done = false;
    Server server(lab, 7000, [&](TcpSocket& socket) {
        const int on = 1;
        ::setsockopt(socket.descriptor(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
        socket.send("go");
        received = receive_stream(socket);
        server_done = true;
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = dial(lab, Lab::server_v4(7000));
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
    EXPECT_EQ(end.number("bytes_up"), sent + talk_bytes());
    ASSERT_TRUE(wait_until([&] { return server_done.load(); }));
    EXPECT_EQ(received.end, StreamEnd::eof);
    EXPECT_EQ(received.bytes, sent);
    EXPECT_EQ(received.sha256, sum.hex());
}

// A read that stops at the mark is short though more is there, and no further event announces it.
TEST_P(SpliceEnd, UrgentByteHoldsBackNothingBehindIt) {
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
    Server server(lab, 7000, [&](TcpSocket& socket) {
        inline_urgent_data(socket);
        socket.send("go");
        EXPECT_EQ(socket.receive_exactly(all.size()), all);
        send_urgently(socket);
        socket.receive_to_end();
    });
    Gateway gateway(lab, allow_all());
    TcpSocket client = dial(lab, Lab::server_v4(7000));
    inline_urgent_data(client);
    EXPECT_EQ(client.receive_exactly(2), "go");
    gateway.agent().signal(SIGSTOP);  // so that all of it waits for the agent at once
    send_urgently(client);
    gateway.agent().signal(SIGCONT);
    EXPECT_EQ(client.receive_exactly(all.size()), all);
}

TEST_P(SpliceEnd, IdleFlowIsEndedOnBothSides) {
    const Lab lab;
    std::atomic<bool> ended = false;
    Server server(lab, 7000, [&](TcpSocket& socket) {
        TcpServer::echo(socket);
        ended = true;
    });
    Gateway gateway(lab, allow_all("timeouts: {idle_s: 1}\n"));
    TcpSocket client = dial(lab, Lab::server_v4(7000));
    client.send("x");
    EXPECT_EQ(client.receive_exactly(1), "x");
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_TRUE(wait_until([&] { return ended.load(); }));
    const JsonRecord end = gateway.wait_for("end");
    EXPECT_EQ(end.text("end"), "idle_timeout");
    EXPECT_GE(end.number("total_ms"), 1'000u);
    EXPECT_LT(end.number("total_ms"), 10'000u);
}

TEST_P(SpliceEnd, BusyFlowOutlivesTheIdleTimeout) {
    const Lab lab;
    Server server(lab, 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all("timeouts: {idle_s: 1}\n"));
    TcpSocket client = dial(lab, Lab::server_v4(7000));
    const auto end = std::chrono::steady_clock::now() + 2500ms;
    while (std::chrono::steady_clock::now() < end) {
        client.send("x");
        ASSERT_EQ(client.receive_exactly(1), "x");
        std::this_thread::sleep_for(200ms);  // a chatty client
    }
}

TEST_P(SpliceEnd, HalfClosedFlowIsEndedWhenTheOtherHalfStaysSilent) {
    const Lab lab;
    std::atomic<bool> over = false;
    Server server(lab, 7000, [&](TcpSocket& socket) {
        socket.receive_to_end();  // the client's FIN; a server that forgets to answer it
        wait_until([&] { return over.load(); });
    });
    Gateway gateway(lab, allow_all("timeouts: {half_close_s: 1}\n"));
    TcpSocket client = dial(lab, Lab::server_v4(7000));
    client.send("x");
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("end").text("end"), "half_close_timeout");
    over = true;
}

}  // namespace
}  // namespace sluice::test
