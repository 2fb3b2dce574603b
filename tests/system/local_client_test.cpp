// Clients on the gateway itself (capture: local): judged like all others, always relayed; and everything else
// that the gateway sends goes its way, the agent's own connections first of all.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/byte_stream.h"
#include "tests/support/gateway.h"
#include "tests/support/real_clients.h"
#include "tests/support/real_servers.h"
#include "tests/support/tcp_server.h"
#include "tests/support/wait.h"

namespace sluice::test {
namespace {

constexpr std::size_t file_bytes = 3'000'000;

class LocalClient : public testing::TestWithParam<const char*> {
  protected:
    static std::string config(std::string_view more = {}) {
        return "capture: {interfaces: [lan0], local: true}\nsplice: " + std::string(GetParam()) + "\n" +
               std::string(more) +
               "peek: {silence_ms: 100}\n"
               "policy:\n"
               "    default: allow\n"
               "    rules:\n"
               "        - {name: no-trackers, server_name: 'suffix:tracker.test', action: deny}\n";
    }
};

INSTANTIATE_TEST_SUITE_P(Mode, LocalClient, testing::Values("auto", "relay", "sockmap"),
                         [](const auto& mode) { return std::string(mode.param); });

TEST_P(LocalClient, IsJudgedByNameAndRelayed) {
    const Lab lab;
    const Nginx nginx(lab.server(), {"www.example.test", "ads.tracker.test"}, file_bytes);
    Gateway gateway(lab, config());
    const std::uint64_t before = lab.server().tcp_segments_received();
    const Finished denied = run_curl(lab.gateway(), "ads.tracker.test", nginx.certificate());
    EXPECT_NE(denied.exit_code, 0);
    EXPECT_EQ(gateway.wait_for("end").text("end"), "denied");
    EXPECT_EQ(lab.server().tcp_segments_received(), before) << "the server must hear nothing";

    const Finished page = run_curl(lab.gateway(), "www.example.test", nginx.certificate(), {}, "/bytes");
    ASSERT_EQ(page.exit_code, 0) << page.err;
    EXPECT_EQ(sha256(page.out), sha256(ByteStream(1).next(file_bytes)));
    const JsonRecord end = gateway.wait_for(
        "end", [](const JsonRecord& line) { return line.text("server_name") == "www.example.test"; });
    EXPECT_EQ(end.text("end"), "closed") << end;
    EXPECT_EQ(end.text("mode"), "relay") << end;
    EXPECT_EQ(end.text("reason"), "local_client") << end;
    EXPECT_EQ(end.text("source").substr(0, 10), "10.10.2.1:") << end;
    EXPECT_GT(end.number("bytes_down"), file_bytes);
    // Neither of the agent's own connections came back to it.
    EXPECT_EQ(gateway.count_lines("verdict"), 2u);
}

TEST_P(LocalClient, OfAServerThatSpeaksFirstIsServedToo) {
    const Lab lab;
    const Sshd sshd(lab.server());
    Gateway gateway(lab, config());
    std::vector<std::string> ssh = sshd.client();
    ssh.insert(ssh.end(), {"10.10.2.2", "echo", "logged in"});
    const Finished login = run_process(ssh, {.netns = &lab.gateway()});
    EXPECT_EQ(login.exit_code, 0) << login.err;
    EXPECT_EQ(login.out, "logged in\n");
    EXPECT_EQ(gateway.wait_for("end").text("mode"), "relay");
}

TEST_P(LocalClient, HoldsALongDialogueAndAStreamBothWaysOverIPv6) {
    const Lab lab;
    StreamSum received;
    TcpServer server(lab.server(), 7000, [&](TcpSocket& socket) {
        for (int i = 0; i < 100; ++i)
            socket.send(socket.receive_exactly(8));
        received = receive_stream(socket);
        socket.send("done");
    });
    Gateway gateway(lab, config());
    for (const policy::Endpoint& to : {Lab::server_v6(7000), Lab::server_v4(7000)}) {
        TcpSocket client = TcpSocket::connect(lab.gateway(), to);
        for (int i = 0; i < 100; ++i) {
            client.send("question");
            ASSERT_EQ(client.receive_exactly(8), "question");
        }
        const StreamSum sent = send_stream(client, 1, 5'000'000);
        EXPECT_EQ(client.receive_exactly(4), "done");
        EXPECT_TRUE(received == sent) << received.bytes;
        const JsonRecord end = gateway.wait_for("end", client.local());
        EXPECT_EQ(end.text("mode"), "relay") << end;
        EXPECT_EQ(end.text("reason"), "local_client") << end;
        EXPECT_EQ(end.number("bytes_up"), 5'000'800u);
    }
}

TEST_P(LocalClient, TakesNothingFromOthers) {
    const Lab lab;
    TcpServer far(lab.server(), 7000, TcpServer::echo);
    TcpServer own(lab.gateway(), 8080, TcpServer::echo);  // answers by the output hook, from no client's port
    Gateway gateway(lab, config());
    const auto expect_echo = [](TcpSocket socket) {
        socket.send("hello");
        EXPECT_EQ(socket.receive_exactly(5), "hello");
    };
    // To the gateway, from both sides and from itself: untouched.
    expect_echo(TcpSocket::connect(lab.client(), endpoint("10.10.1.1:8080")));
    expect_echo(TcpSocket::connect(lab.server(), endpoint("10.10.2.1:8080")));
    expect_echo(TcpSocket::connect(lab.gateway(), endpoint("127.0.0.1:8080")));
    expect_echo(TcpSocket::connect(lab.gateway(), endpoint("10.10.1.1:8080")));
    // Through it: as ever, with the client's address.
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    client.send("hello");
    EXPECT_EQ(client.receive_exactly(5), "hello");
    EXPECT_EQ(far.peers().at(0).to_string(), client.local().to_string());
    EXPECT_NE(gateway.wait_for("verdict", client.local()).text("source"), "");
    EXPECT_EQ(gateway.count_lines("verdict"), 1u);
}

TEST_P(LocalClient, IsServedWhenTheAgentDialsFromTheGatewaysOwnAddress) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, config("upstream: {source: gateway}\n"));
    for (const Netns* from : {&lab.gateway(), &lab.client()}) {
        TcpSocket client = TcpSocket::connect(*from, Lab::server_v4(7000));
        client.send("hello");
        EXPECT_EQ(client.receive_exactly(5), "hello");
        gateway.wait_for("verdict", client.local());
    }
    for (const policy::Endpoint& peer : server.peers())
        EXPECT_EQ(peer.address.to_string(), "10.10.2.1");
    EXPECT_EQ(gateway.count_lines("verdict"), 2u);
}

TEST(LocalClientCapture, IsBlockedWhileNoAgentRunsAndFreeWhenItHasStopped) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab,
                    "capture: {interfaces: [lan0], local: true}\npeek: {silence_ms: 100}\n"
                    "policy: {default: allow}\n");
    gateway.kill();
    const std::uint64_t before = lab.server().tcp_segments_received();
    EXPECT_NE(
        errno_of([&] { TcpSocket::connect(lab.gateway(), Lab::server_v4(7000), {.deadline = 1500ms}); }), 0);
    EXPECT_EQ(lab.server().tcp_segments_received(), before);
    gateway.start();
    {
        TcpSocket client = TcpSocket::connect(lab.gateway(), Lab::server_v4(7000));
        client.send("hello");
        EXPECT_EQ(client.receive_exactly(5), "hello");
    }
    EXPECT_EQ(gateway.stop(), 0);
    TcpSocket client = TcpSocket::connect(lab.gateway(), Lab::server_v4(7000));
    client.send("hello");
    EXPECT_EQ(client.receive_exactly(5), "hello");
}

TEST(LocalClientCapture, LeavesOutWhatIsExcludedAndOtherPorts) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    TcpServer excluded(lab.server(), 7001, TcpServer::echo);
    TcpServer other(lab.server(), 7002, TcpServer::echo);
    Gateway gateway(lab,
                    "capture: {interfaces: [lan0], local: true, ports: [7000, 7001], "
                    "exclude: {ports: 7001}}\npeek: {silence_ms: 100}\npolicy: {default: allow}\n");
    for (const std::uint16_t port : std::array<std::uint16_t, 3>{7001, 7002, 7000}) {
        TcpSocket client = TcpSocket::connect(lab.gateway(), Lab::server_v4(port));
        client.send("hello");
        EXPECT_EQ(client.receive_exactly(5), "hello");
        if (port == 7000) gateway.wait_for("verdict", client.local());
    }
    EXPECT_EQ(gateway.count_lines("verdict"), 1u);
}

}  // namespace
}  // namespace sluice::test
