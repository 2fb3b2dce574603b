// Which mode carries a flow, and what the operator hears of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support/gateway.h"
#include "tests/support/tcp_server.h"
#include "tests/support/wait.h"

namespace sluice::test {
namespace {

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
        // One line, at the end of what the test's own harness says.
        const std::string line = said.substr(said.find("splice: sockmap:"));
        EXPECT_LE(std::ranges::count(line, '\n'), 1) << said;
    }
}

TEST(SpliceChoice, SockmapIsLentDialoguesAndNothingElseEachFlowWithItsReason) {
    const Lab lab;
    // Answers each byte with as many as the port says.
    const auto answer_with = [](std::size_t bytes) {
        return [bytes](TcpSocket& socket) {
            StreamEnd end = StreamEnd::silence;
            while (!socket.receive_some(1, end).empty())
                socket.send(std::string(bytes, 'x'));
        };
    };
    TcpServer short_answers(lab.server(), 7001, answer_with(1000));
    TcpServer long_answers(lab.server(), 7002, answer_with(200'000));
    Gateway gateway(lab, "splice: sockmap\npeek: {silence_ms: 100}\npolicy: {default: allow}\n");
    const auto ask = [&](std::uint16_t port, std::size_t bytes, int times) {
        TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(port));
        for (int i = 0; i < times; ++i) {
            client.send("?");
            EXPECT_EQ(client.receive_exactly(bytes).size(), bytes);
        }
        return client;
    };
    const auto reason_of = [&](const TcpSocket& client, std::size_t bytes) {
        std::string found;
        wait_until([&] {
            for (const JsonRecord& flow : gateway.flows()) {
                if (flow.text("source") == client.local().to_string() && flow.number("bytes_down") == bytes)
                    found = flow.text("mode") + " " + flow.text("reason");
            }
            return !found.empty();
        });
        return found;
    };
    const TcpSocket dialogue = ask(7001, 1000, 50);
    const TcpSocket brief = ask(7001, 1000, 2);
    const TcpSocket bulk = ask(7002, 200'000, 50);
    EXPECT_EQ(reason_of(dialogue, 50'000), "sockmap configured");
    EXPECT_EQ(reason_of(brief, 2000), "relay no_dialogue");
    EXPECT_EQ(reason_of(bulk, 10'000'000), "relay no_dialogue");
    EXPECT_NE(gateway.sluice({"flows"}).out.find("relay (no_dialogue)"), std::string::npos);
    EXPECT_NE(gateway.sluice({"status"}).out.find("passed"), std::string::npos);
}

}  // namespace
}  // namespace sluice::test
