// Which mode carries a flow, and what the operator hears of it.
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

}  // namespace
}  // namespace sluice::test
