// A server may ask for a second ClientHello (HelloRetryRequest) and then believes that one. A client that
// names an allowed host in the first and a denied one in the second must not get through.
#include <gtest/gtest.h>

#include <atomic>
#include <optional>

#include "bpf/packet_abi.h"
#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/real_clients.h"
#include "tests/support/real_servers.h"
#include "tests/support/tcp_server.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "userspace/datapath/mapped_array.h"
#include "userspace/datapath/packet_table.h"

namespace sluice::test {
namespace {

// A MAC address is no part of a hello, and must be known when the second one is judged all the same.
constexpr const char* policy = R"(
policy:
  default: deny
  rules: [{name: good, server_name: "suffix:allowed.example", mac: "00:00:00:00:00:00/0", action: allow}]
)";

// OpenSSL's own server, which accepts one group only and so asks those again who offer a share of another.
class RetryingServer {
  public:
    explicit RetryingServer(const Lab& lab) {
        const std::string directory = directory_.path().string();
        certificate_ = directory + "/certificate.pem";
        const std::string key = directory + "/key.pem";
        run_process({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                     "-nodes", "-days", "2", "-subj", "/CN=allowed.example", "-addext",
                     "subjectAltName=DNS:allowed.example", "-keyout", key, "-out", certificate_});
        process_ = std::make_unique<Process>(
            std::vector<std::string>{"openssl", "s_server", "-accept", "443", "-groups", "P-256", "-tls1_3",
                                     "-www", "-msg", "-cert", certificate_, "-key", key},
            ProcessOptions{.netns = &lab.server()});
        if (!wait_until([&] { return is_listening(lab.server(), 443); }))
            throw std::runtime_error(process_->err());
    }

    const std::string& certificate() const { return certificate_; }

    std::size_t hellos_received() const {
        const std::string said = process_->out();
        std::size_t count = 0;
        for (std::size_t at = 0; (at = said.find("ClientHello", at)) != std::string::npos; ++at)
            ++count;
        return count;
    }

  private:
    TemporaryDirectory directory_;
    std::string certificate_;
    std::unique_ptr<Process> process_;
};

// What OpenSSL's client says first, caught by a server that does not answer.
std::string real_hello(const Lab& lab, const std::string& server_name, const std::string& groups) {
    std::string hello;
    {
        TcpServer catcher(lab.server(), 443, [&](TcpSocket& socket) {
            const std::string header = socket.receive_exactly(5);
            const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(header[i]); };
            hello = header + socket.receive_exactly(static_cast<std::size_t>(byte(3)) << 8 | byte(4));
        });
        run_process({"openssl", "s_client", "-connect", "10.10.2.2:443", "-servername", server_name,
                     "-tls1_3", "-groups", groups},
                    {.netns = &lab.client()});
    }
    return hello;
}

TEST(HelloRetry, AnHonestClientIsServed) {
    const Lab lab;
    const RetryingServer server(lab);
    Gateway gateway(lab, policy);
    const Finished client = run_openssl_client(lab.client(), "allowed.example", server.certificate(),
                                               {"-tls1_3", "-groups", "X25519:P-256"});
    EXPECT_NE(client.out.find("HTTP/1.0 200"), std::string::npos) << client.out << client.err;
    EXPECT_EQ(server.hellos_received(), 2u);
    EXPECT_EQ(gateway.wait_for("end").text("end"), "closed");
    ASSERT_EQ(gateway.count_lines("verdict"), 2u) << "each hello is judged";
    EXPECT_EQ(gateway.log_lines("verdict")[1].text("server_name"), "allowed.example");
}

TEST(HelloRetry, AnotherNameInTheSecondHelloIsRefusedAndNeverReachesTheServer) {
    const Lab lab;
    const std::string allowed = real_hello(lab, "allowed.example", "X25519:P-256");
    const std::string denied = real_hello(lab, "denied.example", "P-256");
    const RetryingServer server(lab);
    Gateway gateway(lab, policy);
    for (const bool at_once : {false, true}) {
        SCOPED_TRACE(at_once ? "both hellos in one go" : "the second after the request for it");
        const std::size_t hellos_before = server.hellos_received();
        TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
        const policy::Endpoint source = client.local();
        client.send(at_once ? allowed + denied : allowed);
        if (!at_once) {
            const std::string retry = client.receive_exactly(5 + 6 + 32);
            EXPECT_EQ(retry.substr(11, 4), "\xcf\x21\xad\x74") << "the server did not ask again";
            client.send(denied);
        }
        EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
        const JsonRecord end = gateway.wait_for("end", source);
        EXPECT_EQ(end.text("end"), "denied") << end;
        EXPECT_EQ(end.text("server_name"), "denied.example") << end;
        EXPECT_EQ(server.hellos_received(), hellos_before + 1);
    }
}

TEST(HelloRetry, ARequestInTwoSegmentsIsPassedOnWhole) {
    const Lab lab;
    const std::string allowed = real_hello(lab, "allowed.example", "X25519:P-256");
    const std::string second = real_hello(lab, "allowed.example", "P-256");
    std::string request;
    {
        const RetryingServer real(lab);
        TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
        client.send(allowed);
        const std::string header = client.receive_exactly(5);
        request = header + client.receive_exactly(static_cast<unsigned char>(header[4]));
    }
    TcpServer server(lab.server(), 443, [&](TcpSocket& socket) {
        socket.receive_exactly(allowed.size());
        send_in_segments(socket, request, 60);
        socket.send(socket.receive_exactly(second.size()));
    });
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
    client.send(allowed);
    EXPECT_EQ(client.receive_exactly(request.size()), request);
    client.send(second);
    EXPECT_EQ(client.receive_exactly(second.size()), second);
}

TEST(HelloRetry, AClientThatResetsWhileTheServerIsSilentIsNotWaitedFor) {
    const Lab lab;
    const std::string allowed = real_hello(lab, "allowed.example", "P-256");
    std::atomic<StreamEnd> end = StreamEnd::silence;
    TcpServer server(lab.server(), 443, [&](TcpSocket& socket) {
        socket.receive_exactly(allowed.size());
        end = socket.receive_to_end().end;
    });
    Gateway gateway(lab, policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
    const policy::Endpoint source = client.local();
    client.send(allowed);
    gateway.wait_for("verdict", source);
    EXPECT_TRUE(wait_until([&] { return server.accepted() == 1; }));
    client.reset();
    EXPECT_EQ(gateway.wait_for("end", source).text("end"), "client_reset");
    EXPECT_TRUE(wait_until([&] { return end == StreamEnd::reset; }));
}

TEST(HelloRetry, SilenceAfterTheRequestEndsAtTheDeadline) {
    const Lab lab;
    const std::string allowed = real_hello(lab, "allowed.example", "X25519:P-256");
    const RetryingServer server(lab);
    Gateway gateway(lab, std::string("peek: {silence_ms: 100, hello_deadline_ms: 300}\n") + policy);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
    client.send(allowed);
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("end", client.local()).text("end"), "hello_incomplete");
}

// As if other bytes were guarded, of servers that do not acknowledge them.
class OccupiedGuards {
  public:
    explicit OccupiedGuards(const std::string& state_directory)
        : table_(state_directory, datapath::PacketTable::Access::read),
          guards_(table_.map_fd("packet_guards"), PACKET_GUARDS_MAX, PROT_READ | PROT_WRITE,
                  "packet_guards") {
        set_all(PACKET_GUARD_asked);
    }
    void free() { set_all(PACKET_GUARD_free); }

  private:
    void set_all(packet_guard_state state) {
        for (std::uint32_t i = 0; i < PACKET_GUARDS_MAX; ++i)
            std::atomic_ref(guards_[i].state).store(state);
    }

    datapath::PacketTable table_;
    datapath::MappedArray<packet_guard> guards_;
};

// A server that the gateway has met, and reaches without a socket: the kernel programs stop the second hello
// until the agent has judged it.
class PacketHelloRetry : public testing::Test {
  protected:
    PacketHelloRetry() { meet(); }

    // With the group that the server wants, so that it does not ask again. On a busy machine it may take more
    // than once until the server has answered soon enough to be known as near.
    void meet() {
        EXPECT_TRUE(wait_until([this] {
            const std::uint64_t before = sockets_connected();
            ask("P-256");
            hellos_ += 1;
            return sockets_connected() == before;
        }));
    }
    std::uint64_t sockets_connected() const { return lab_.gateway().tcp_counter("ActiveOpens"); }
    std::uint64_t retransmitted() const { return lab_.client().tcp_counter("RetransSegs"); }
    Finished ask(const std::string& groups) {
        return run_openssl_client(lab_.client(), "allowed.example", server_.certificate(),
                                  {"-tls1_3", "-groups", groups});
    }
    // A client without a socket upstream that has been asked for its second hello.
    TcpSocket asked_again() {
        std::optional<TcpSocket> client;
        EXPECT_TRUE(wait_until([&] {
            const std::uint64_t before = sockets_connected();
            client.emplace(TcpSocket::connect(lab_.client(), Lab::server_v4(443)));
            client->send(allowed_);
            hellos_ += 1;
            const std::string header = client->receive_exactly(5);
            const std::string retry = client->receive_exactly(static_cast<unsigned char>(header[4]));
            EXPECT_EQ(retry.substr(6, 4), "\xcf\x21\xad\x74") << "the server did not ask again";
            if (sockets_connected() == before) return true;
            meet();
            return false;
        }));
        return std::move(*client);
    }
    void expect_refused(TcpSocket& client) {
        EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
        const JsonRecord end = gateway_.wait_for("end", client.local());
        EXPECT_EQ(end.text("end"), "denied") << end;
        EXPECT_EQ(end.text("server_name"), "denied.example") << end;
        expect_no_more_hellos();
    }
    void expect_no_more_hellos() {
        EXPECT_TRUE(wait_until([&] { return server_.hellos_received() >= hellos_; }));
        EXPECT_EQ(server_.hellos_received(), hellos_);
    }

    const Lab lab_;
    const std::string allowed_ = real_hello(lab_, "allowed.example", "X25519:P-256");
    const std::string denied_ = real_hello(lab_, "denied.example", "P-256");
    const RetryingServer server_{lab_};
    Gateway gateway_{lab_, std::string("limits: {workers: 1}\n") + policy};
    std::size_t hellos_ = 0;  // that the server should have heard
};

TEST_F(PacketHelloRetry, AnHonestClientIsServedAndNeedNotRepeatItself) {
    EXPECT_TRUE(wait_until([this] {
        const std::uint64_t sockets_before = sockets_connected();
        const std::uint64_t retransmitted_before = retransmitted();
        const Finished client = ask("X25519:P-256");
        hellos_ += 2;
        EXPECT_NE(client.out.find("HTTP/1.0 200"), std::string::npos) << client.out << client.err;
        if (sockets_connected() == sockets_before && retransmitted() == retransmitted_before) return true;
        meet();
        return false;
    }));
    expect_no_more_hellos();
    EXPECT_TRUE(wait_until([&] { return gateway_.count_lines("verdict") == hellos_; }))
        << "each hello is judged";
    EXPECT_EQ(gateway_.log_lines("verdict").back().text("server_name"), "allowed.example");
}

TEST_F(PacketHelloRetry, AnotherNameIsRefusedAndNeverReachesTheServer) {
    TcpSocket client = asked_again();
    client.send(denied_);
    expect_refused(client);
}

TEST_F(PacketHelloRetry, AnotherNameBeforeTheServerHasAskedIsRefusedToo) {
    TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
    client.send(allowed_);
    hellos_ += 1;
    gateway_.wait_for("verdict", client.local());
    client.send(denied_);
    expect_refused(client);
}

TEST_F(PacketHelloRetry, AnotherNameThatIsToBeVerifiedNeedsItsEvidence) {
    gateway_.write_config(
        "limits: {workers: 1}\ndns: {servers: '127.0.0.1:9'}\npolicy:\n  default: allow\n  rules: [{name: "
        "sure, "
        "server_name: 'exact:denied.example', action: allow, verify: enforce}]\n");
    gateway_.reload();
    gateway_.wait_for("reload");
    TcpSocket client = asked_again();
    client.send(denied_);
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway_.wait_for("end", client.local()).text("end"), "name_unresolved");
    expect_no_more_hellos();
}

TEST_F(PacketHelloRetry, WhatIsNoHelloIsRefused) {
    TcpSocket client = asked_again();
    client.send("GET / HTTP/1.0\r\n\r\n");
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway_.wait_for("end", client.local()).text("end"), "hello_malformed");
}

TEST_F(PacketHelloRetry, HalfOfOneEndsAtTheDeadline) {
    gateway_.write_config(
        std::string("limits: {workers: 1}\npeek: {silence_ms: 100, hello_deadline_ms: 300}\n") + policy);
    gateway_.stop();
    gateway_.start();
    meet();
    TcpSocket client = asked_again();
    client.send(allowed_.substr(0, allowed_.size() / 2));
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    const JsonRecord end = gateway_.wait_for("end", client.local());
    EXPECT_EQ(end.text("end"), "hello_incomplete") << end;
    EXPECT_EQ(end.text("mode"), "packet") << end;
    expect_no_more_hellos();
}

// A guard that other bytes still have, as when a server is slow to acknowledge the first hello.
TEST_F(PacketHelloRetry, OneThatCannotBeGuardedYetIsJudgedOnceAndPassesLater) {
    TcpSocket client = asked_again();
    EXPECT_TRUE(wait_until([&] { return gateway_.count_lines("verdict") == hellos_; }));
    OccupiedGuards guards(gateway_.state_directory());
    const std::uint64_t retransmitted_before = retransmitted();
    client.send(build_hello({.server_name = "allowed.example"}));
    EXPECT_TRUE(wait_until([&] { return retransmitted() >= retransmitted_before + 2; }));
    expect_no_more_hellos();
    guards.free();
    hellos_ += 1;
    expect_no_more_hellos();
    EXPECT_EQ(gateway_.count_lines("verdict"), hellos_);
}

TEST_F(PacketHelloRetry, WhileTheAgentIsDeadItWaitsAndTheNextOneJudges) {
    TcpSocket client = asked_again();
    const std::uint64_t retransmitted_before = retransmitted();
    gateway_.kill();
    client.send(denied_);
    EXPECT_TRUE(wait_until([&] { return retransmitted() > retransmitted_before; }));
    gateway_.start();
    expect_refused(client);
}

}  // namespace
}  // namespace sluice::test
