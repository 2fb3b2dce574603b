// Clients whose first bytes are read without a socket, as their server is known to be near, and what goes
// wrong with that: whatever does, they are served as all others, or denied as all others. forbidden.example
// is denied.
#include <gtest/gtest.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <string>

#include "tests/support/byte_stream.h"
#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/packet_counter.h"
#include "tests/support/process.h"
#include "tests/support/raw_peer.h"
#include "tests/support/tcp_server.h"
#include "tests/support/wait.h"

namespace sluice::test {
namespace {

constexpr std::uint16_t port = 7000;
constexpr const char* configuration = R"(
limits: {workers: 2}
policy:
  default: allow
  rules:
    - {name: forbidden, server_name: "exact:forbidden.example", action: deny}
    - {name: dropped, server_name: "exact:dropped.example", action: deny, style: drop}
)";

std::string request(const std::string& name) {
    return "GET / HTTP/1.1\r\nHost: " + name + "\r\n\r\n";
}

class PacketDeferred : public testing::Test {
  protected:
    std::uint64_t accepted() const { return lab_.gateway().tcp_counter("PassiveOpens"); }
    TcpSocket say(std::string_view bytes, const policy::Endpoint& to = Lab::server_v4(port)) const {
        TcpSocket client = TcpSocket::connect(lab_.client(), to);
        client.send(bytes);
        return client;
    }
    void expect_echo(const std::string& bytes, const policy::Endpoint& to = Lab::server_v4(port)) const {
        TcpSocket client = say(bytes, to);
        EXPECT_EQ(client.receive_exactly(bytes.size()), bytes);
        const std::string more = ByteStream(bytes.size()).next(100'000);
        client.send(more);
        EXPECT_EQ(sha256(client.receive_exactly(more.size())), sha256(more));
    }
    // On a busy machine it may take more than once until the server has answered soon enough.
    void meet(const policy::Endpoint& to = Lab::server_v4(port)) const {
        EXPECT_TRUE(wait_until([&] {
            const std::uint64_t before = accepted();
            expect_echo(request("allowed.example"), to);
            return accepted() == before;
        }));
    }
    void lose_first_syn() const {
        const Finished rules = run_process(
            {"nft", "-f", "-"},
            {.netns = &lab_.server(),
             .input =
                 "table inet wall { chain in { type filter hook input priority 0; tcp dport 7000 tcp flags "
                 "syn / fin,syn,rst,ack quota until 60 bytes drop; }; }"});
        ASSERT_EQ(rules.exit_code, 0) << rules.err;
    }
    void find_server() const {
        ASSERT_EQ(run_process({"nft", "flush", "ruleset"}, {.netns = &lab_.server()}).exit_code, 0);
    }

    const Lab lab_;
    TcpServer server_{lab_.server(), port, TcpServer::echo};
    Gateway gateway_{lab_, configuration};
};

TEST_F(PacketDeferred, NoSocketIsMadeForAnyOfThem) {
    for (const auto& server : {Lab::server_v4(port), Lab::server_v6(port)}) {
        meet(server);
        for (const std::string& first : {std::string("hello"), request("a.example"), build_hello()})
            EXPECT_TRUE(wait_until([&] {
                const std::uint64_t before = accepted();
                expect_echo(first, server);
                return accepted() == before;
            }));
    }
}

TEST_F(PacketDeferred, ADeniedNameReachesNoServer) {
    meet();
    const std::size_t before = server_.accepted();
    for (const std::string& first :
         {request("forbidden.example"), build_hello({.server_name = "forbidden.example"})}) {
        TcpSocket client = say(first);
        EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
        const JsonRecord verdict = gateway_.wait_for("verdict", client.local());
        EXPECT_EQ(verdict.text("decision"), "deny");
        EXPECT_EQ(gateway_.wait_for("end", client.local()).text("end"), "denied");
    }
    EXPECT_EQ(server_.accepted(), before);
}

TEST_F(PacketDeferred, ADroppedClientHearsNothingHoweverOftenItSaysItAgain) {
    const PacketCounter ends(lab_.client(), "tcp sport 7000 tcp flags & (fin | rst) != 0");
    for (const bool is_near : {false, true}) {
        if (is_near) meet();
        TcpSocket client = say(build_hello({.server_name = "dropped.example"}));
        EXPECT_EQ(gateway_.wait_for("end", client.local()).text("end"), "denied");
        const std::uint64_t packets = ends.packets();
        client.send("and more");
        const std::uint64_t sent = lab_.client().tcp_counter("RetransSegs");
        EXPECT_TRUE(wait_until([&] { return lab_.client().tcp_counter("RetransSegs") >= sent + 2; }));
        EXPECT_EQ(ends.packets(), packets);
    }
}

TEST_F(PacketDeferred, EachHasOneVerdict) {
    meet();
    lose_first_syn();
    TcpSocket client = say(request("allowed.example"));
    EXPECT_EQ(client.receive_exactly(1), "G");
    const policy::Endpoint source = client.local();
    client.shutdown_write();
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
    gateway_.wait_for("end", source);
    for (const char* event : {"verdict", "end"}) {
        const auto lines = gateway_.log_lines(event);
        EXPECT_EQ(std::ranges::count(lines, source.to_string(),
                                     [](const JsonRecord& line) { return line.text("source"); }),
                  1)
            << event;
    }
}

// A hello of several segments, and one with more behind it.
TEST_F(PacketDeferred, WhatIsNotAllInOneSegmentIsServed) {
    meet();
    for (const std::string& first :
         {build_hello({.bytes = 3000}), build_hello() + "more", std::string(5000, 'x')})
        expect_echo(first);
    TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(port));
    const std::string hello = build_hello();
    send_in_segments(client, hello, 100);
    EXPECT_EQ(client.receive_exactly(hello.size()), hello);
}

TEST_F(PacketDeferred, WhatFollowsBeforeTheServerAnswersIsServed) {
    meet();
    lose_first_syn();
    TcpSocket client = say(request("allowed.example"));
    client.send("and the body");
    const std::string all = request("allowed.example") + "and the body";
    EXPECT_EQ(client.receive_exactly(all.size()), all);
}

// The kernel repeats its answer to the SYN after a second, and makes a socket then.
TEST_F(PacketDeferred, ASilentClientGetsASocket) {
    meet();
    const std::uint64_t before = accepted();
    TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(port));
    EXPECT_TRUE(wait_until([&] { return accepted() == before + 1; }));
    client.send("at last");
    EXPECT_EQ(client.receive_exactly(7), "at last");
}

// It is deferred once: a socket is made when the kernel has repeated its answer to the SYN, after a second.
TEST(PacketDeferredBySilence, AServerThatSpeaksFirstIsKnownForItFromThenOn) {
    const Lab lab;
    const TcpServer server(lab.server(), port, [](TcpSocket& socket) {
        if (wait_until([&] { return socket.bytes_readable() > 0; }, 100ms)) return TcpServer::echo(socket);
        socket.send("220 mail ESMTP\r\n");
        TcpServer::echo(socket);
    });
    Gateway gateway(lab, "peek: {silence_ms: 50}\npolicy: {default: allow}\n");
    const auto accepted = [&] { return lab.gateway().tcp_counter("PassiveOpens"); };
    const auto greets = [&] {
        TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(port));
        return client.receive_exactly(16) == "220 mail ESMTP\r\n";
    };
    const auto answers = [&] {
        TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(port));
        client.send("GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n");
        return client.receive_exactly(3) == "GET";
    };
    EXPECT_TRUE(wait_until([&] {
        const std::uint64_t before = accepted();
        return answers() && accepted() == before;
    }));
    EXPECT_TRUE(greets());
    for (int i = 0; i < 2; ++i) {
        const std::uint64_t before = accepted();
        EXPECT_TRUE(answers());
        EXPECT_EQ(accepted(), before + 1);
    }
}

TEST_F(PacketDeferred, ASocketMadeLaterHasWhatTheTwoHaveAgreedUpon) {
    meet();
    for (const char* option : {"tcp_timestamps", "tcp_sack", "tcp_window_scaling"}) {
        SCOPED_TRACE(option);
        lose_first_syn();
        expect_echo(request("allowed.example"));
        find_server();
        lab_.client().sysctl(std::string("net/ipv4/") + option, "0");
    }
    meet(Lab::server_v6(port));
    lose_first_syn();
    expect_echo(request("allowed.example"), Lab::server_v6(port));
}

TEST_F(PacketDeferred, AClientThatLeavesWhileItsServerIsAwaitedIsNotWaitedFor) {
    meet();
    ASSERT_EQ(
        run_process(
            {"nft", "-f", "-"},
            {.netns = &lab_.server(),
             .input =
                 "table inet wall { chain in { type filter hook input priority 0; tcp dport 7000 drop; }; }"})
            .exit_code,
        0);
    TcpSocket client = say(request("allowed.example"));
    EXPECT_TRUE(wait_until([&] { return gateway_.flows({"state=connecting"}).size() == 1; }));
    const policy::Endpoint source = client.local();
    client.reset();
    EXPECT_EQ(gateway_.wait_for("end", source).text("end"), "client_gone");
}

// Relayed, so that its client talks to the socket that was made; with clocks that start anywhere.
TEST_F(PacketDeferred, AServerThatHasOtherOptionsByNowIsServed) {
    meet();
    for (int flow = 0; flow < 8; ++flow) {
        lab_.server().sysctl("net/ipv4/tcp_window_scaling", "1");
        meet();
        lab_.server().sysctl("net/ipv4/tcp_window_scaling", "0");
        TcpSocket client = say(request("allowed.example"));
        const std::string more = ByteStream(1).next(100'000);
        client.send(more);
        const std::string all = request("allowed.example") + more;
        EXPECT_EQ(sha256(client.receive_exactly(all.size())), sha256(all));
        EXPECT_TRUE(wait_until([&] { return gateway_.flows({"mode=relay"}).size() == 1; }));
        client.shutdown_write();
        EXPECT_EQ(client.receive_to_end().end, StreamEnd::eof);
        gateway_.wait_for("end", client.local());
    }
}

TEST_F(PacketDeferred, DamagedBytesAreWaitedForAgain) {
    meet();
    RawPeer peer(lab_.client(), endpoint("10.10.1.2:1234"), Lab::server_v4(port));
    ASSERT_TRUE(peer.connect());
    peer.send(
        {.flags = TH_PUSH | TH_ACK, .payload = request("forbidden.example"), .checksum = RawChecksum::wrong});
    const std::string right = request("allowed.example");
    EXPECT_TRUE(wait_until([&] {
        peer.send({.flags = TH_PUSH | TH_ACK, .payload = right});
        const auto answer = peer.receive(100ms);
        return answer && answer->ack == peer.seq + right.size();
    }));
    peer.seq += static_cast<std::uint32_t>(right.size());
    EXPECT_EQ(peer.hear(right.size()), right);
    EXPECT_EQ(gateway_.wait_for("verdict", endpoint("10.10.1.2:1234")).text("decision"), "allow");
}

// What makes the kernel forget the connection request does not get to it, so no socket can be made, and the
// client's bytes are waited for again.
TEST_F(PacketDeferred, AFirewallThatDropsResetsHoldsUpNobody) {
    meet();
    const Finished rules = run_process(
        {"nft", "-f", "-"},
        {.netns = &lab_.gateway(),
         .input = "table inet wall { chain in { type filter hook prerouting priority raw; tcp dport 7000 tcp "
                  "flags rst / fin,syn,rst drop; }; }"});
    ASSERT_EQ(rules.exit_code, 0) << rules.err;
    TcpSocket denied = say(request("forbidden.example"));
    EXPECT_EQ(denied.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway_.wait_for("verdict", denied.local()).text("decision"), "deny");
    EXPECT_EQ(gateway_.wait_for("end", denied.local()).text("end"), "denied");
    lose_first_syn();
    expect_echo(request("allowed.example"));
}

}  // namespace
}  // namespace sluice::test
