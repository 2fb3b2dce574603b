// The watch for a HelloRetryRequest: what the client says after one waits for the agent's judgement.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "tests/kernel/packet_segment.h"

namespace sluice::test {
namespace {

constexpr std::uint32_t server_start = 5000;  // sequence number of the server's first byte

// A record with the first bytes of a ServerHello, RFC 8446 4.1.3.
std::string server_hello(bool retry) {
    constexpr std::array<unsigned char, 32> retry_random = {
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
        0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};
    std::string random(retry_random.begin(), retry_random.end());
    if (!retry) random.back() ^= 1;
    return std::string("\x16\x03\x03\x00\x5a\x02\x00\x00\x56\x03\x03", 11) + random + std::string(52, 'x');
}

// RFC 8446 6: unrecognized_name, as servers of TLS 1.2 have it.
std::string warning() {
    return std::string("\x15\x03\x03\x00\x02\x01\x70", 7);
}
std::string change_cipher_spec() {
    return std::string("\x14\x03\x03\x00\x01\x01", 6);
}

class PacketWatch : public testing::Test {
  protected:
    void SetUp() override {
        datapath::PacketFlow about;
        about.id = 7;
        about.server_name = "first.example";
        datapath::PacketDirection up = lab_.up(flow_);
        datapath::PacketDirection down = lab_.down(flow_);
        up.route.flags = PACKET_ROUTE_JUDGED;
        up.route.ack_start = server_start + flow_.server_shift;  // as the client counts
        down.route.flags = PACKET_ROUTE_WATCHED;
        down.route.ack_start = client_next + flow_.client_shift;  // as the server counts
        down.route.ack = down.route.ack_start;
        ASSERT_TRUE(lab_.splice().insert(about, up, down));
    }

    int server_says(const std::string& payload, std::size_t from = 0) {
        Segment segment;
        segment.tuple = lab_.down(flow_).arrives;
        segment.seq = static_cast<std::uint32_t>(server_start + from);
        segment.ack = client_next + flow_.client_shift;
        segment.payload = payload;
        return run_ingress(lab_, frame_of(segment)).action;
    }
    int client_says(const std::string& payload, std::uint32_t seq = client_next) {
        Segment segment;
        segment.tuple = lab_.up(flow_).arrives;
        segment.seq = seq;
        segment.payload = payload;
        return run_ingress(lab_, frame_of(segment)).action;
    }
    // What the agent has been given, put together.
    std::string copied() {
        std::string all;
        lab_.splice().read_events({}, [&](const packet_hello_piece& piece) {
            EXPECT_EQ(piece.head.flow, 7u);
            EXPECT_EQ(piece.head.seq, client_next + all.size());
            all.append(reinterpret_cast<const char*>(piece.data), piece.head.bytes);
            slot_ = piece.head.slot;
        });
        return all;
    }
    bool pass(const std::string& hello, std::uint64_t id = 7) {
        datapath::PacketFlow about;
        about.id = id;
        about.server_name = "second.example";
        return lab_.splice().pass(slot_, about, client_next, hello);
    }

    static constexpr std::uint32_t client_next = 1000;  // what the client says behind its first hello
    PacketLab lab_;
    const LabFlow flow_;
    std::uint32_t slot_ = 0;
};

TEST_F(PacketWatch, AfterAServerHelloAllPasses) {
    EXPECT_EQ(server_says(server_hello(false)), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("finished"), TC_ACT_REDIRECT);
    EXPECT_EQ(copied(), "");
    EXPECT_FALSE(pass("finished")) << "nothing waits";
}

TEST_F(PacketWatch, AServerHelloMayComeInPiecesAndAgain) {
    const std::string hello = server_hello(false);
    for (std::size_t at = 0; at < 43; ++at) {
        EXPECT_EQ(client_says("too early"), TC_ACT_SHOT);
        EXPECT_EQ(server_says(hello.substr(at, 1), at), TC_ACT_REDIRECT);
        EXPECT_EQ(server_says(hello.substr(at / 2, at - at / 2), at / 2), TC_ACT_REDIRECT) << "again";
    }
    EXPECT_EQ(client_says("finished"), TC_ACT_REDIRECT);
    EXPECT_EQ(copied(), "");
}

TEST_F(PacketWatch, AHelloRetryRequestMayComeInPieces) {
    const std::string hello = server_hello(true);
    for (std::size_t at = 0; at < hello.size(); at += 7)
        EXPECT_EQ(server_says(hello.substr(at, 7), at), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("second hello"), TC_ACT_SHOT);
    EXPECT_EQ(copied(), "second hello");
}

TEST_F(PacketWatch, AfterAHelloRetryRequestTheSecondHelloWaitsForTheAgent) {
    EXPECT_EQ(server_says(server_hello(true)), TC_ACT_REDIRECT);
    const std::string hello = std::string(2040, 'h') + "end";
    EXPECT_EQ(client_says(hello), TC_ACT_SHOT);
    EXPECT_EQ(client_says(""), TC_ACT_REDIRECT) << "an acknowledgement says nothing";
    EXPECT_EQ(copied(), hello);
    const auto waiting = lab_.splice().waiting(slot_, 7);
    ASSERT_TRUE(waiting);
    EXPECT_EQ(waiting->seq, client_next);
    EXPECT_STREQ(waiting->flow.server_name, "first.example");
    EXPECT_FALSE(pass(hello, 8)) << "another flow";
    EXPECT_FALSE(pass(hello + hello)) << "more than can be guarded";
    EXPECT_TRUE(pass(hello));
    EXPECT_EQ(client_says(hello), TC_ACT_REDIRECT);
    EXPECT_EQ(copied(), "");
    EXPECT_STREQ(lab_.listed(7).server_name, "second.example");
}

TEST_F(PacketWatch, NothingElsePassesInPlaceOfTheSecondHelloThatWasJudged) {
    EXPECT_EQ(server_says(server_hello(true)), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("second hello"), TC_ACT_SHOT);
    EXPECT_EQ(copied(), "second hello");
    EXPECT_TRUE(pass("second hello"));
    Segment other;
    other.tuple = lab_.up(flow_).arrives;
    other.seq = client_next;
    other.payload = "another one!, and more";
    const Ran ran = run_ingress(lab_, frame_of(other));
    EXPECT_EQ(ran.action, TC_ACT_REDIRECT);
    EXPECT_EQ(parse_frame(ran.frame).payload, "second hello, and more");
}

TEST_F(PacketWatch, ASecondHelloThatIsRefusedEndsTheFlow) {
    EXPECT_EQ(server_says(server_hello(true)), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("second hello"), TC_ACT_SHOT);
    EXPECT_EQ(copied(), "second hello");
    EXPECT_FALSE(lab_.refuse(slot_, 8)) << "another flow";
    EXPECT_TRUE(lab_.refuse(slot_, 7));
    EXPECT_FALSE(pass("second hello"));
    EXPECT_NE(client_says("second hello"), TC_ACT_REDIRECT);
}

TEST_F(PacketWatch, AfterAFatalAlertAllPasses) {
    EXPECT_EQ(server_says(warning() + std::string("\x15\x03\x03\x00\x02\x02\x28", 7)), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("more"), TC_ACT_REDIRECT);
}

// Whatever a warning says, what comes behind it may ask for a second hello.
TEST_F(PacketWatch, AWarningOrAChangeCipherSpecAnswersNothing) {
    const std::string beginning = warning() + change_cipher_spec() + warning();
    const std::string stream = beginning + server_hello(true);
    EXPECT_EQ(server_says(beginning), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("too early"), TC_ACT_SHOT);
    EXPECT_EQ(copied(), "");
    EXPECT_EQ(server_says(stream.substr(3), 3), TC_ACT_REDIRECT) << "from the midst of the first on, again";
    EXPECT_EQ(client_says("second hello"), TC_ACT_SHOT);
    EXPECT_EQ(copied(), "second hello");
}

TEST_F(PacketWatch, WarningsInPiecesAndAServerHelloAnswer) {
    const std::string stream =
        change_cipher_spec() + warning() + std::string("\x15\x03\x03\x00\x01\x01", 6) + server_hello(false);
    const std::size_t tells = stream.size() - 52;
    for (std::size_t at = 0; at < tells; ++at) {
        EXPECT_EQ(client_says("too early"), TC_ACT_SHOT) << at;
        EXPECT_EQ(server_says(stream.substr(at, 1), at), TC_ACT_REDIRECT);
        EXPECT_EQ(server_says(stream.substr(at / 2, at - at / 2), at / 2), TC_ACT_REDIRECT) << "again";
    }
    EXPECT_EQ(client_says("finished"), TC_ACT_REDIRECT);
    EXPECT_EQ(copied(), "");
}

TEST_F(PacketWatch, AnAlertOfAnotherLengthLeavesTheNextHelloToTheAgent) {
    EXPECT_EQ(server_says(std::string("\x15\x03\x03\x00\x04\x01\x00\x01\x00", 9)), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("second hello"), TC_ACT_SHOT);
    EXPECT_EQ(copied(), "second hello");
}

TEST_F(PacketWatch, WarningsWithoutEndLeaveTheNextHelloToTheAgent) {
    std::string warnings;
    for (int i = 0; i < 18; ++i)
        warnings += warning();
    EXPECT_EQ(server_says(warnings), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("too early"), TC_ACT_SHOT);
    EXPECT_EQ(copied(), "");
    EXPECT_EQ(server_says(warning(), warnings.size()), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("second hello"), TC_ACT_SHOT);
    EXPECT_EQ(copied(), "second hello");
}

TEST_F(PacketWatch, AfterAnotherMessageAllPasses) {
    std::string other = server_hello(true);
    other[5] = 1;
    EXPECT_EQ(server_says(other), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("more"), TC_ACT_REDIRECT);
}

TEST_F(PacketWatch, ARecordTooShortForItsHelloIsTheAgentsToJudge) {
    std::string cut = server_hello(false);
    cut[4] = 1;
    EXPECT_EQ(server_says(cut), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("more"), TC_ACT_SHOT);
    EXPECT_EQ(copied(), "more");
}

TEST_F(PacketWatch, WhatTheClientSaysBeforeTheServerWaits) {
    EXPECT_EQ(client_says("a second hello, before anybody has asked"), TC_ACT_SHOT);
    EXPECT_EQ(copied(), "");
    EXPECT_EQ(server_says(server_hello(true)), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("a second hello"), TC_ACT_SHOT);
    EXPECT_EQ(copied(), "a second hello");
}

TEST_F(PacketWatch, WhatOvertakesTheFirstRecordComesAgain) {
    const std::string hello = server_hello(true);
    EXPECT_EQ(server_says("later", hello.size()), TC_ACT_SHOT);
    EXPECT_EQ(server_says(hello), TC_ACT_REDIRECT);
    EXPECT_EQ(server_says("later", hello.size()), TC_ACT_REDIRECT);
    EXPECT_EQ(client_says("second hello"), TC_ACT_SHOT);
}

TEST_F(PacketWatch, WhatTheAgentDoesNotReadIsNotForwardedEither) {
    EXPECT_EQ(server_says(server_hello(true)), TC_ACT_REDIRECT);
    for (int times = 0; times < 500; ++times)  // more than the ring buffer holds
        ASSERT_EQ(client_says(std::string(1000, 'x')), TC_ACT_SHOT);
}

}  // namespace
}  // namespace sluice::test
