// What was judged is what the server gets, whatever the client sends in its place before the server has it.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "tests/kernel/packet_exchange.h"
#include "tests/kernel/packet_segment.h"

namespace sluice::test {
namespace {

constexpr std::uint32_t client_start = 1000;  // sequence number of the client's first byte
constexpr std::uint32_t server_start = 5000;  // and of the server's

std::string pattern(std::size_t bytes) {
    std::string out(bytes, '\0');
    for (std::size_t at = 0; at < bytes; ++at)
        out[at] = static_cast<char>(at * 7 + at / 256);
    return out;
}

class PacketGuard : public testing::TestWithParam<bool> {
  protected:
    PacketGuard() : flow_(GetParam() ? flow_v6() : LabFlow{}) {}

    void begin(const std::string& judged, std::uint64_t id = 7, std::uint16_t port = 40000) {
        choose(id, port);
        ASSERT_TRUE(insert());
        ASSERT_TRUE(guard(judged));
    }
    void choose(std::uint64_t id, std::uint16_t port) {
        flow_.id = id;
        flow_.client.port = flow_.source.port = port;
    }
    // A flow whose client is to be judged: what it says next is as good as what it has said first.
    bool insert() {
        datapath::PacketFlow about;
        about.id = flow_.id;
        datapath::PacketDirection up = lab_.up(flow_);
        datapath::PacketDirection down = lab_.down(flow_);
        up.route.ack_start = server_start - up.route.ack_delta;
        up.route.ack = up.route.ack_start;
        down.route.ack_start = client_start + flow_.client_shift;
        down.route.ack = down.route.ack_start;
        up.route.flags = PACKET_ROUTE_JUDGED;
        return lab_.splice().insert(about, up, down).has_value();
    }
    bool guard(const std::string& judged) {
        judged_ = judged;
        datapath::PacketFlow about;
        about.id = flow_.id;
        return lab_.splice().pass(lab_.route(lab_.up(flow_).arrives).slot, about, client_start, judged);
    }
    std::optional<std::uint32_t> dial(std::uint16_t port) {
        choose(port, port);
        datapath::PacketFlow about;
        about.id = port;
        return lab_.splice().dial(about, lab_.up(flow_).arrives, judged_, {});
    }
    Ran client_says(const std::string& payload, std::int64_t at = 0, std::uint8_t flags = TH_ACK,
                    bool more_fragments = false) {
        Segment segment;
        segment.tuple = lab_.up(flow_).arrives;
        segment.seq = client_start + static_cast<std::uint32_t>(at);
        segment.payload = payload;
        segment.flags = flags;
        segment.more_fragments = more_fragments;
        return run_ingress(lab_, frame_of(segment));
    }
    // What the server gets of it; the checksums are right.
    std::string arrives(const std::string& payload, std::int64_t at = 0, std::uint8_t flags = TH_ACK) {
        const Ran ran = client_says(payload, at, flags);
        EXPECT_EQ(ran.action, TC_ACT_REDIRECT);
        const Segment segment = parse_frame(ran.frame);
        EXPECT_EQ(segment.seq, client_start + static_cast<std::uint32_t>(at) + flow_.client_shift);
        return segment.payload;
    }
    int server_acknowledges(std::uint32_t bytes, std::uint32_t at = 0, std::uint8_t flags = TH_ACK) {
        Segment segment;
        segment.tuple = lab_.down(flow_).arrives;
        segment.seq = server_start + at;
        segment.ack = client_start + bytes + flow_.client_shift;
        segment.flags = flags;
        return run_ingress(lab_, frame_of(segment)).action;
    }
    bool is_guarded() const {
        const auto flags = lab_.route(lab_.up(flow_).arrives).flags;
        EXPECT_EQ(flags & PACKET_ROUTE_GUARDED,
                  lab_.route(lab_.down(flow_).arrives).flags & PACKET_ROUTE_GUARDED);
        return (flags & PACKET_ROUTE_GUARDED) != 0;
    }

    PacketLab lab_{{}, {4096, 0, 0}};
    LabFlow flow_;
    std::string judged_;
};

INSTANTIATE_TEST_SUITE_P(Families, PacketGuard, testing::Bool(),
                         [](const auto& info) { return info.param ? "V6" : "V4"; });

TEST_P(PacketGuard, WhatComesInTheirPlaceIsOverwritten) {
    begin(pattern(101));
    EXPECT_EQ(arrives(judged_), judged_);
    EXPECT_EQ(arrives(std::string(101, 'x')), judged_);
    for (int at = -40; at < 110; at += 7) {
        for (const int bytes : {1, 2, 31, 32, 33, 64, 150}) {
            SCOPED_TRACE(std::to_string(bytes) + " bytes at " + std::to_string(at));
            const std::string sent(static_cast<std::size_t>(bytes), 'x');
            std::string expected = sent;
            for (int i = 0; i < bytes; ++i) {
                if (at + i >= 0 && at + i < 101)
                    expected[static_cast<std::size_t>(i)] = judged_[static_cast<std::size_t>(at + i)];
            }
            EXPECT_EQ(arrives(sent, at), expected);
        }
    }
}

TEST_P(PacketGuard, AsManyBytesAsFit) {
    begin(pattern(PACKET_GUARD_BYTES_MAX));
    EXPECT_EQ(arrives(std::string(1400, 'x')), judged_.substr(0, 1400));
    EXPECT_EQ(arrives(std::string(1400, 'x'), 1400), judged_.substr(1400) + std::string(752, 'x'));
}

TEST_P(PacketGuard, NothingMakesThemEndEarlyOrBeReadWithoutAByte) {
    begin(pattern(100));
    EXPECT_EQ(client_says("", 0, TH_ACK | TH_FIN).action, TC_ACT_SHOT);
    EXPECT_EQ(client_says("x", 98, TH_ACK | TH_FIN).action, TC_ACT_SHOT);
    EXPECT_EQ(client_says("x", 5, TH_ACK | TH_URG).action, TC_ACT_SHOT);
    EXPECT_EQ(client_says("", 200, TH_ACK | TH_URG).action, TC_ACT_SHOT);
    EXPECT_EQ(client_says("", 0, TH_SYN).action, TC_ACT_SHOT);
    if (!GetParam()) {
        EXPECT_EQ(client_says("x", 5, TH_ACK, true).action, TC_ACT_SHOT) << "the rest of it is not seen";
    }
    EXPECT_EQ(arrives("x", 99, TH_ACK | TH_FIN), judged_.substr(99));
    EXPECT_EQ(arrives("", 100, TH_ACK | TH_FIN), "");
    EXPECT_EQ(arrives("", 0), "") << "an acknowledgement";
    EXPECT_EQ(arrives("more", 100), "more");
    EXPECT_TRUE(is_guarded());
}

TEST_P(PacketGuard, LastsUntilTheServerHasThem) {
    begin(pattern(100));
    EXPECT_EQ(server_acknowledges(0), TC_ACT_REDIRECT);
    EXPECT_EQ(server_acknowledges(99), TC_ACT_REDIRECT);
    EXPECT_TRUE(is_guarded());
    EXPECT_EQ(arrives(std::string(100, 'x')), judged_);
    EXPECT_EQ(server_acknowledges(100, 10), TC_ACT_REDIRECT) << "with its answer";
    EXPECT_FALSE(is_guarded());
    EXPECT_EQ(arrives(std::string(100, 'x')), std::string(100, 'x')) << "the server has others already";
}

TEST_P(PacketGuard, WhoeverDoesNotKnowTheServersNumbersCannotEndIt) {
    begin(pattern(100));
    server_acknowledges(100, 1 << 20);
    server_acknowledges(100, 0U - 1);
    server_acknowledges(100 + (1 << 20));
    server_acknowledges(100, 0, TH_SYN | TH_ACK);
    EXPECT_TRUE(is_guarded());
    EXPECT_EQ(arrives(std::string(100, 'x')), judged_);
}

TEST_P(PacketGuard, ASynAckThatComesAgainGoesNoFurther) {
    begin(pattern(100));
    EXPECT_EQ(server_acknowledges(0, 0U - 1, TH_SYN | TH_ACK), TC_ACT_SHOT);
}

TEST_P(PacketGuard, OutlivesTheAgent) {
    begin(pattern(100));
    lab_.stop();
    lab_.start();
    EXPECT_EQ(arrives(std::string(100, 'x')), judged_);
    EXPECT_EQ(server_acknowledges(100), TC_ACT_REDIRECT);
    EXPECT_FALSE(is_guarded());
}

TEST_P(PacketGuard, ThereAreOnlySoMany) {
    for (std::uint32_t flow = 1; flow <= PACKET_GUARDS_MAX; ++flow)
        begin(pattern(100), flow, static_cast<std::uint16_t>(10'000 + flow));
    choose(PACKET_GUARDS_MAX + 1, 50'000);
    ASSERT_TRUE(insert());
    EXPECT_FALSE(guard("one too many"));
    EXPECT_FALSE(dial(50'001));

    // The server of the first acknowledges, which was in this one's way; that of the second, for a dial.
    choose(1, 10'001);
    server_acknowledges(100);
    choose(PACKET_GUARDS_MAX + 1, 50'000);
    EXPECT_TRUE(guard("again"));
    EXPECT_EQ(arrives("other"), judged_);
    EXPECT_FALSE(dial(50'001));
    choose(2, 10'002);
    server_acknowledges(100);
    EXPECT_TRUE(wait_until([&] { return dial(50'001).has_value(); }));
}

}  // namespace
}  // namespace sluice::test
