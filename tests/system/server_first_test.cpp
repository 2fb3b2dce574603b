// Protocols in which the server speaks first: never a hang, and no way around the rules on names.
#include <gtest/gtest.h>

#include <atomic>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/real_servers.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* policy = R"(
peek: {silence_ms: 100}
policy:
  default: deny
  rules:
    - {name: ssh, protocol: [ssh, server-first], port: 22, action: allow}
    - {name: mail, protocol: server-first, port: 25, action: allow}
    - {name: good names, server_name: "exact:allowed.example", action: allow}
)";

// What server threads leave for the test to read.
class Notes {
  public:
    void add(const std::string& note) {
        const std::lock_guard lock(mutex_);
        notes_.push_back(note);
    }
    std::vector<std::string> all() const {
        const std::lock_guard lock(mutex_);
        return notes_;
    }

  private:
    mutable std::mutex mutex_;
    std::vector<std::string> notes_;
};

TEST(ServerFirst, OpenSshLogsIn) {
    const Lab lab;
    const Sshd sshd(lab.server());
    Gateway gateway(lab, policy);
    std::vector<std::string> ssh = sshd.client();
    ssh.insert(ssh.end(), {"10.10.2.2", "echo", "logged in"});
    const auto began = std::chrono::steady_clock::now();
    const Finished login = run_process(ssh, {.netns = &lab.client()});
    EXPECT_EQ(login.out, "logged in\n") << login.err;
    EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
    const JsonRecord end = gateway.wait_for("end");
    EXPECT_EQ(end.text("protocol"), "ssh");
    EXPECT_EQ(end.text("rule"), "ssh");
    EXPECT_EQ(end.text("end"), "closed") << end;
}

TEST(ServerFirst, SilentSshClientGetsTheServersBanner) {
    const Lab lab;
    const Sshd sshd(lab.server());
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(22));
    EXPECT_EQ(client.receive_exactly(8), "SSH-2.0-");
    EXPECT_EQ(gateway.wait_for("verdict", client.local()).text("protocol"), "ssh");
}

TEST(ServerFirst, BannerAfter300MillisecondsGetsThrough) {
    const Lab lab;
    TcpServer server(lab.server(), 25, [](TcpSocket& socket) {
        std::this_thread::sleep_for(300ms);  // a slow greeter
        socket.send("220 mail.example ESMTP\r\n");
        TcpServer::echo(socket);
    });
    Gateway gateway(lab, policy);
    const auto began = std::chrono::steady_clock::now();
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(25));
    EXPECT_EQ(client.receive_exactly(24), "220 mail.example ESMTP\r\n");
    EXPECT_LT(std::chrono::steady_clock::now() - began, sanitized() ? 3s : 1s);
    client.send("EHLO client\r\n");
    EXPECT_EQ(client.receive_exactly(13), "EHLO client\r\n");
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
    const JsonRecord end = gateway.wait_for("end", client.local());
    EXPECT_EQ(end.text("rule"), "mail");
    EXPECT_EQ(end.number("bytes_up"), 13u);
    EXPECT_EQ(end.number("bytes_down"), 37u);
}

TEST(ServerFirst, DeniedSilenceIsRefusedAndTheServerNeverHearsOfIt) {
    const Lab lab;
    TcpServer server(lab.server(), 443, TcpServer::swallow);
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    const JsonRecord end = gateway.wait_for("end");
    EXPECT_EQ(end.text("protocol"), "server-first");
    EXPECT_EQ(end.text("rule"), "default");
    EXPECT_EQ(end.text("end"), "denied");
    EXPECT_GE(end.number("total_ms"), 100u);
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
}

TEST(ServerFirst, ForbiddenHelloAfterAllowedSilenceIsRefusedUnheard) {
    const Lab lab;
    Notes notes;
    TcpServer server(lab.server(), 25, [&](TcpSocket& socket) { notes.add(socket.receive_to_end().bytes); });
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(25));
    const policy::Endpoint source = client.local();
    ASSERT_TRUE(wait_until([&] { return server.accepted() == 1; }));
    client.send(build_hello({.server_name = "denied.example"}));
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    const JsonRecord end = gateway.wait_for("end", source);
    EXPECT_EQ(end.text("end"), "denied");
    EXPECT_EQ(end.text("server_name"), "denied.example");
    ASSERT_TRUE(wait_until([&] { return notes.all().size() == 1; }));
    EXPECT_EQ(notes.all().front(), "");
}

TEST(ServerFirst, AllowedHelloAfterAllowedSilencePasses) {
    const Lab lab;
    TcpServer server(lab.server(), 25, TcpServer::echo);
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(25));
    ASSERT_TRUE(wait_until([&] { return server.accepted() == 1; }));
    const std::string hello = build_hello();
    client.send(hello);
    EXPECT_EQ(client.receive_exactly(hello.size()), hello);
    client.close();
    EXPECT_EQ(gateway.wait_for("end").text("server_name"), "allowed.example");
}

TEST(ServerFirst, HalfHelloAfterAllowedSilenceNeverReachesTheServer) {
    const Lab lab;
    Notes notes;
    TcpServer server(lab.server(), 25, [&](TcpSocket& socket) { notes.add(socket.receive_to_end().bytes); });
    std::string config = policy;
    config.replace(config.find("silence_ms: 100"), 15, "silence_ms: 100, hello_deadline_ms: 300");
    Gateway gateway(lab, config);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(25));
    const policy::Endpoint source = client.local();
    ASSERT_TRUE(wait_until([&] { return server.accepted() == 1; }));
    client.send(build_hello({.server_name = "denied.example"}).substr(0, 50));
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("end", source).text("end"), "hello_incomplete");
    ASSERT_TRUE(wait_until([&] { return notes.all().size() == 1; }));
    EXPECT_EQ(notes.all().front(), "");
}

TEST(ServerFirst, ServerThatGoesWithoutAWordIsNotWaitedFor) {
    const Lab lab;
    TcpServer server(lab.server(), 25, [](TcpSocket&) {});
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(25));
    const policy::Endpoint source = client.local();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
    client.close();
    EXPECT_LT(gateway.wait_for("end", source).number("total_ms"), sanitized() ? 3000u : 1500u);
}

TEST(ServerFirst, AClientThatHangsUpOnASilentServerIsHeard) {
    const Lab lab;
    std::atomic<bool> is_heard = false;
    TcpServer server(lab.server(), 25, [&](TcpSocket& socket) {
        socket.receive_to_end();
        wait_until([&] { return is_heard.load(); });
    });
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(25));
    ASSERT_TRUE(wait_until([&] { return server.accepted() == 1; }));
    client.shutdown_write();
    const ProcessOptions in_client{.netns = &lab.client()};
    EXPECT_TRUE(wait_until([&] {
        return !run_process({"ss", "-Htn", "state", "fin-wait-1"}, in_client).out.contains(":25");
    })) << "its FIN is not acknowledged";
    EXPECT_LE(lab.client().tcp_counter("RetransSegs"), 1u) << "again and again";
    is_heard = true;
}

class Finisher : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Dialled, Finisher, testing::Bool());

TEST_P(Finisher, ClientThatFinishesWithoutAWordStillGetsTheAnswer) {
    const Lab lab;
    TcpServer server(lab.server(), 25, [](TcpSocket& socket) {
        EXPECT_EQ(socket.receive_to_end().end, StreamEnd::eof);
        socket.send("it is noon");
    });
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(25));
    if (GetParam()) ASSERT_TRUE(wait_until([&] { return server.accepted() == 1; }));
    client.shutdown_write();
    const Received heard = client.receive_to_end();
    EXPECT_EQ(heard.bytes, "it is noon");
    EXPECT_EQ(heard.end, StreamEnd::eof);
}

}  // namespace
}  // namespace sluice::test
