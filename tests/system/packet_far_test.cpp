// A server 300 ms away, by a link that loses two of a hundred segments: its flows are carried as packets,
// too.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>
#include <vector>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

class PacketFar : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Protocol, PacketFar, testing::Values("tls", "other", "server_first"),
                         [](const auto& protocol) { return std::string(protocol.param); });

TEST_P(PacketFar, ServersAreServedByPackets) {
    const Lab lab({.server_wire = WireOptions{.delay = 150ms, .lost = 20}});
    const std::string banner =
        std::string_view(GetParam()) == "server_first" ? "220 at your service\r\n" : "";
    TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
        socket.send(banner);
        TcpServer::echo(socket);
    });
    Gateway gateway(lab, "peek: {silence_ms: 100}\npolicy: {default: allow}\n");
    const std::string question =
        std::string_view(GetParam()) == "tls" ? build_hello() : std::string("GET / HTTP/1.1\r\n\r\n");
    constexpr unsigned flows = 50;
    std::atomic<unsigned> answered = 0;
    {
        std::vector<std::jthread> clients;
        for (unsigned i = 0; i < flows; ++i) {
            clients.emplace_back([&] {
                TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
                if (client.receive_exactly(banner.size()) != banner) return;
                client.send(question);
                const bool first = client.receive_exactly(question.size()) == question;
                client.send("more");
                if (first && client.receive_exactly(4) == "more") ++answered;
            });
        }
    }
    EXPECT_EQ(answered, flows);
    ASSERT_TRUE(wait_until([&] { return gateway.count_lines("end") == flows; }));
    std::map<std::string, unsigned> modes;
    for (const JsonRecord& end : gateway.log_lines("end"))
        ++modes[end.text("mode") + " " + end.text("reason")];
    EXPECT_GE(modes["packet automatic"], flows * 9 / 10) << testing::PrintToString(modes);
}

}  // namespace
}  // namespace sluice::test
