// A client, or somebody who only knows its address, against the packet splice: nothing arrives that was not
// judged, nothing goes on unseen, and nobody ends what is not his. The judgement is by name:
// forbidden.example is denied.
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <algorithm>

#include <map>
#include <mutex>
#include <random>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/process.h"
#include "tests/support/raw_peer.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* policy = R"(
peek: {silence_ms: 100}
policy:
  default: allow
  rules: [{name: forbidden, server_name: "exact:forbidden.example", action: deny}]
)";
constexpr const char* question = "GET / HTTP/1.1\r\n\r\n";

// Echoes, and keeps what each connection has said.
class Listening {
  public:
    explicit Listening(const Netns& netns)
        : server_(netns, 7000, [this](TcpSocket& socket) {
              const std::uint16_t port = socket.peer().port;
              StreamEnd end{};
              for (std::string bytes; !(bytes = socket.receive_some(65536, end)).empty();) {
                  {
                      const std::lock_guard lock(mutex_);
                      heard_[port] += bytes;
                  }
                  socket.send(bytes);
              }
          }) {}

    std::string heard_from(std::uint16_t port) {
        const std::lock_guard lock(mutex_);
        return heard_[port];
    }
    std::size_t connections() const { return server_.accepted(); }

  private:
    std::mutex mutex_;
    std::map<std::uint16_t, std::string> heard_;  // by the client's port
    TcpServer server_;
};

class PacketAttack : public testing::Test {
  protected:
    static policy::Endpoint client(std::uint16_t port) {
        return endpoint("10.10.1.2:" + std::to_string(port));
    }
    static std::string hello(const char* name) { return build_hello({.server_name = name}); }

    // Says something else in the place of what was judged, again and again while the flow is handed over.
    static void insist(RawPeer& peer, const std::string& bytes) {
        const auto end = std::chrono::steady_clock::now() + 20ms;
        while (std::chrono::steady_clock::now() < end)
            peer.send({.flags = TH_PUSH | TH_ACK, .payload = bytes});
    }
    // An acknowledgement of what was never sent, which no kernel ever believes.
    static void poison(RawPeer& peer) {
        peer.send({.flags = TH_ACK, .ack = peer.ack + 100'000'000, .checksum = RawChecksum::wrong});
    }

    // A flow that packets carry, with what both have said so far.
    void open(RawPeer& peer) {
        ASSERT_TRUE(peer.connect());
        const std::string allowed = hello("allowed.example");
        peer.say(allowed);
        ASSERT_EQ(peer.hear(allowed.size()), allowed);
        ASSERT_TRUE(wait_until([&] { return is_listed(); }));
    }
    bool is_listed() {
        const auto flows = gateway_.flows();
        return flows.size() == 1 && flows[0].text("mode") == "packet" && flows[0].text("state") == "spliced";
    }
    static void expect_echo(RawPeer& peer, const std::string& bytes) {
        peer.say(bytes);
        EXPECT_EQ(peer.hear(bytes.size()), bytes);
    }

    const Lab lab_;
    Listening server_{lab_.server()};
    Gateway gateway_{lab_, policy};
};

TEST_F(PacketAttack, OtherBytesInThePlaceOfTheJudgedOnesDoNotArrive) {
    for (std::uint16_t port = 50'000; port < 50'020; ++port) {
        RawPeer peer(lab_.client(), client(port), Lab::server_v4(7000));
        ASSERT_TRUE(peer.connect());
        if (port % 2 == 0) poison(peer);
        peer.send({.flags = TH_PUSH | TH_ACK, .payload = question});
        insist(peer, hello("forbidden.example"));
        ASSERT_TRUE(
            wait_until([&] { return server_.heard_from(port).size() >= std::string(question).size(); }));
        EXPECT_TRUE(server_.heard_from(port).starts_with(question)) << port;
    }
}

TEST_F(PacketAttack, AClientThatHasFinishedSaysNothingMore) {
    for (std::uint16_t port = 50'000; port < 50'010; ++port) {
        RawPeer peer(lab_.client(), client(port), Lab::server_v4(7000));
        ASSERT_TRUE(peer.connect());
        if (port % 2 == 0) poison(peer);
        // For a server that speaks first.
        EXPECT_TRUE(wait_until([&] {
            return std::ranges::any_of(gateway_.flows(), [&](const JsonRecord& flow) {
                return flow.text("source") == client(port).to_string() && flow.text("state") == "waiting";
            });
        }));
        peer.send({.flags = TH_FIN | TH_ACK});
        insist(peer, hello("forbidden.example"));
        gateway_.wait_for("end", client(port));
        EXPECT_EQ(server_.heard_from(port), "") << port;
    }
}

// A server that has forgotten the connection would begin another, which nobody has judged.
TEST_F(PacketAttack, ASynInTheMiddleOfAFlowDoesNotReachTheServer) {
    RawPeer peer(lab_.client(), client(50'000), Lab::server_v4(7000));
    open(peer);
    const std::string forget =
        "table ip forget { chain out { type filter hook output priority 0; tcp sport 7000 drop; }; }\n";
    ASSERT_EQ(run_process({"nft", "-f", "-"}, {.netns = &lab_.server(), .input = forget}).exit_code, 0);
    ASSERT_EQ(
        run_process({"ss", "-K", "state", "established", "sport", "=", ":7000"}, {.netns = &lab_.server()})
            .exit_code,
        0);
    run_process({"nft", "delete", "table", "ip", "forget"}, {.netns = &lab_.server()});
    const std::uint64_t before = lab_.server().tcp_counter("PassiveOpens");
    peer.seq += 5'000'000;
    for (int i = 0; i < 3; ++i)
        peer.send({.flags = TH_SYN});
    peer.send({.flags = TH_ACK});  // comes behind them, and shows by the RST that they have been by
    while (const auto segment = peer.receive()) {
        if ((segment->flags & TH_RST) != 0) break;
        EXPECT_EQ(segment->flags & TH_SYN, 0) << "somebody has begun a connection";
    }
    EXPECT_EQ(lab_.server().tcp_counter("PassiveOpens"), before);
    EXPECT_EQ(server_.connections(), 1u);
}

TEST_F(PacketAttack, ADamagedResetNeitherEndsAFlowNorHidesIt) {
    RawPeer peer(lab_.client(), client(50'000), Lab::server_v4(7000));
    open(peer);
    peer.send({.flags = TH_RST, .checksum = RawChecksum::wrong});
    peer.send({.flags = TH_RST | TH_ACK, .checksum = RawChecksum::wrong});
    expect_echo(peer, "still alive");
    ASSERT_TRUE(is_listed());
    EXPECT_EQ(gateway_.sluice({"flows", "kill", gateway_.flows().at(0).text("id")}).exit_code, 0);
    peer.hear(1);
    EXPECT_TRUE(peer.was_reset());
    EXPECT_EQ(gateway_.wait_for("end").text("end"), "killed");
}

// An RST of which the gateway cannot tell that the server will not believe it ends the flow for both.
TEST_F(PacketAttack, NothingGoesOnBehindAReset) {
    RawPeer peer(lab_.client(), client(50'000), Lab::server_v4(7000));
    open(peer);
    peer.send({.flags = TH_RST, .checksum = RawChecksum::unfinished});
    EXPECT_EQ(gateway_.wait_for("end").text("end"), "client_reset");
    const std::uint64_t before = lab_.server().tcp_segments_received();
    const std::string heard = server_.heard_from(50'000);
    peer.say("no more");
    peer.send({.flags = TH_ACK});
    peer.hear(1);
    EXPECT_TRUE(peer.was_reset());
    EXPECT_EQ(lab_.server().tcp_segments_received(), before);
    EXPECT_EQ(server_.heard_from(50'000), heard);
}

TEST_F(PacketAttack, AnAcknowledgementOfWhatWasNeverSentCountsNothing) {
    RawPeer peer(lab_.client(), client(50'000), Lab::server_v4(7000));
    open(peer);
    const std::uint64_t bytes = hello("allowed.example").size();
    for (std::uint32_t ahead = 100'000'000; ahead < 3'000'000'000; ahead += 100'000'000)
        peer.send({.flags = TH_ACK, .ack = peer.ack + ahead});
    const std::uint64_t before = lab_.server().tcp_segments_received();
    expect_echo(peer, "still alive");
    peer.send({.flags = TH_ACK, .ack = peer.ack + 100'000'000});
    EXPECT_TRUE(wait_until([&] { return lab_.server().tcp_segments_received() >= before + 3; }));
    EXPECT_EQ(gateway_.flows().at(0).number("bytes_up"), bytes + 11);
    EXPECT_EQ(gateway_.flows().at(0).number("bytes_down"), bytes + 11);
    peer.send({.flags = TH_RST | TH_ACK});
    EXPECT_EQ(gateway_.wait_for("end").number("bytes_down"), bytes + 11);
}

// FINs and acknowledgements of one who knows the tuple and no number.
TEST_F(PacketAttack, BlindFinsDoNotHideAFlow) {
    RawPeer peer(lab_.client(), client(50'000), Lab::server_v4(7000));
    open(peer);
    const RawPeer forged_up(lab_.client(), client(50'000), Lab::server_v4(7000));
    const RawPeer forged_down(lab_.server(), Lab::server_v4(7000), client(50'000));
    std::mt19937 random(1);
    const auto fin = [&] {
        return RawSegment{.flags = TH_FIN | TH_ACK,
                          .seq = static_cast<std::uint32_t>(random()),
                          .ack = static_cast<std::uint32_t>(random())};
    };
    for (int i = 0; i < 2000; ++i) {
        forged_up.send(fin());
        forged_down.send(fin());
    }
    EXPECT_TRUE(is_listed());
    EXPECT_EQ(gateway_.count_lines("end"), 0u);
}

}  // namespace
}  // namespace sluice::test
