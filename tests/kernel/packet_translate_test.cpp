// What becomes of single segments, field by field.
#include <gtest/gtest.h>

#include <string>

#include "tests/kernel/packet_exchange.h"
#include "tests/kernel/packet_segment.h"

namespace sluice::test {
namespace {

std::string number(std::uint32_t value) {
    const std::uint32_t wire = htonl(value);
    return {reinterpret_cast<const char*>(&wire), sizeof wire};
}

std::string timestamps(std::uint32_t tsval, std::uint32_t tsecr) {
    return std::string("\x01\x01\x08\x0a") + number(tsval) + number(tsecr);
}

class PacketTranslate : public testing::Test {
  protected:
    // A flow with the route from the client as `change` makes it.
    template <class Change>
    void enter(const LabFlow& flow, Change&& change) {
        datapath::PacketDirection up = lab_.up(flow);
        datapath::PacketDirection down = lab_.down(flow);
        up.route.tsval_floor = flow.client_clock_shift;
        up.route.tsecr_floor = 0U - flow.server_clock_shift;
        change(up.route);
        datapath::PacketFlow about;
        about.id = flow.id;
        ASSERT_TRUE(lab_.splice().insert(about, up, down));
    }
    void enter(const LabFlow& flow) {
        enter(flow, [](packet_route&) {});
    }

    // What the client's segment has become.
    Segment forwarded(const Segment& segment) {
        const Ran ran = run_ingress(lab_, frame_of(segment));
        EXPECT_EQ(ran.action, TC_ACT_REDIRECT);
        return parse_frame(ran.frame, segment.network_options.size());
    }
    Segment from_client(const LabFlow& flow) const {
        Segment segment;
        segment.tuple = lab_.up(flow).arrives;
        return segment;
    }

    PacketLab lab_;
    const LabFlow flow_;
};

TEST_F(PacketTranslate, NumbersAddressesHopsAndChecksums) {
    LabFlow other = flow_;
    other.id = 2;
    other.client.port = 40001;
    other.dialled = endpoint("198.51.100.7:8443");
    other.source = endpoint("10.10.2.1:50123");
    LabFlow v6 = flow_v6();
    v6.id = 3;
    LabFlow other6 = v6;
    other6.id = 4;
    other6.client.port = 40001;
    other6.source = endpoint("[fd00:2::1]:50123");
    for (const LabFlow& flow : {flow_, other, v6, other6}) {
        enter(flow);
        for (const char* payload : {"", "x", "even", "odd"}) {
            Segment sent = from_client(flow);
            sent.payload = payload;
            sent.seq = 0xfffffff0;
            const Segment got = forwarded(sent);
            EXPECT_EQ(got.seq, sent.seq + flow.client_shift);
            EXPECT_EQ(got.ack, sent.ack - flow.server_shift);
            EXPECT_EQ(got.tuple.source_port, htons(flow.source.port));
            const packet_tuple leaves = lab_.up(flow).route.leaves;
            EXPECT_EQ(std::memcmp(&got.tuple, &leaves, sizeof leaves), 0);
            EXPECT_EQ(got.hops, sent.hops - 1);
            EXPECT_EQ(got.payload, payload);
            EXPECT_EQ(got.window, sent.window);
        }
    }
}

TEST_F(PacketTranslate, TheWindowIsScaledRoundedDownAndCapped) {
    enter(flow_, [](packet_route& route) {
        route.scale_from = 7;
        route.scale_to = 9;
    });
    Segment syn = from_client(flow_);
    syn.flags = TH_SYN;  // unscaled
    syn.window = 1000;
    EXPECT_EQ(forwarded(syn).window, 1000);
    Segment sent = from_client(flow_);
    for (const auto& [window, expected] :
         {std::pair{1000, 250}, {1003, 250}, {3, 0}, {0, 0}, {65535, 16383}}) {
        sent.window = static_cast<std::uint16_t>(window);
        EXPECT_EQ(forwarded(sent).window, expected) << window;
    }
}

// A server that has forgotten the connection would begin another, under a name that nobody has judged.
TEST_F(PacketTranslate, AClientsSynOnALiveFlowGoesNoFurther) {
    enter(flow_);
    forwarded(from_client(flow_));  // and from here on the client has acknowledged something
    Segment syn = from_client(flow_);
    syn.flags = TH_SYN;
    EXPECT_EQ(run_ingress(lab_, frame_of(syn)).action, TC_ACT_SHOT);
}

TEST_F(PacketTranslate, AWindowTooLargeForTheOtherScaleIsTheLargestThatThereIs) {
    enter(flow_, [](packet_route& route) { route.scale_from = 14; });
    Segment sent = from_client(flow_);
    sent.window = 5;
    EXPECT_EQ(forwarded(sent).window, 65535);
    sent.window = 3;
    EXPECT_EQ(forwarded(sent).window, 3 << 14);
}

TEST_F(PacketTranslate, Timestamps) {
    enter(flow_);
    Segment sent = from_client(flow_);
    sent.options = timestamps(5000, 6000);
    EXPECT_EQ(forwarded(sent).options,
              timestamps(5000 + flow_.client_clock_shift, 6000 - flow_.server_clock_shift));
    sent.options = timestamps(5000, 0);
    EXPECT_EQ(forwarded(sent).options, timestamps(5000 + flow_.client_clock_shift, 0));
}

TEST_F(PacketTranslate, NoTimestampIsBeforeWhatTheLegHasSentAlready) {
    enter(flow_, [&](packet_route& route) { route.tsval_floor = 5010 + flow_.client_clock_shift; });
    Segment sent = from_client(flow_);
    sent.options = timestamps(5000, 6000);
    EXPECT_EQ(forwarded(sent).options.substr(4, 4), number(5010 + flow_.client_clock_shift));
    sent.options = timestamps(5020, 6000);
    EXPECT_EQ(forwarded(sent).options.substr(4, 4), number(5020 + flow_.client_clock_shift));
}

// What waited for the handover comes behind what its sender has said since.
TEST_F(PacketTranslate, NoTimestampIsBeforeThoseOfTheFlowsFirstMinutes) {
    enter(flow_, [&](packet_route& route) { route.tsval_floor = 5010 + flow_.client_clock_shift; });
    Segment sent = from_client(flow_);
    const auto translated = [&](std::uint32_t tsval) {
        sent.options = timestamps(tsval, 6000);
        return forwarded(sent).options.substr(4, 4);
    };
    EXPECT_EQ(translated(5020), number(5020 + flow_.client_clock_shift));
    EXPECT_EQ(translated(5015), number(5020 + flow_.client_clock_shift));
    EXPECT_EQ(translated(5020 + (1 << 16)), number(5020 + (1 << 16) + flow_.client_clock_shift)) << "damage";
    EXPECT_EQ(translated(5030), number(5030 + flow_.client_clock_shift));
}

TEST_F(PacketTranslate, SackEdgesLikeAcknowledgementsAtAnyAlignment) {
    enter(flow_);
    const auto edge = [&](std::uint32_t value) { return number(value - flow_.server_shift); };
    for (std::size_t pad = 0; pad < 4; ++pad) {
        const std::string front(pad, '\x01');
        const std::string back((6 - pad) % 4, '\0');
        Segment sent = from_client(flow_);
        sent.options =
            front + "\x05\x12" + number(3000) + number(4000) + number(0xffffff00) + number(16) + back;
        EXPECT_EQ(forwarded(sent).options,
                  front + "\x05\x12" + edge(3000) + edge(4000) + edge(0xffffff00) + edge(16) + back)
            << pad;
    }
    Segment sent = from_client(flow_);
    sent.options = timestamps(5000, 6000) + "\x01\x01\x05\x1a" + number(1) + number(2) + number(3) +
                   number(4) + number(5) + number(6);
    EXPECT_EQ(forwarded(sent).options,
              timestamps(5000 + flow_.client_clock_shift, 6000 - flow_.server_clock_shift) +
                  "\x01\x01\x05\x1a" + edge(1) + edge(2) + edge(3) + edge(4) + edge(5) + edge(6));
}

TEST_F(PacketTranslate, OptionsThatContradictThemselvesPassAsTheyAre) {
    enter(flow_);
    for (const std::string& options : {std::string("\x08\x0c\0\0", 4), std::string("\x05\x00\0\0", 4),
                                       std::string("\x01\x01\x01\x05", 4), std::string("\xfd\x04zz", 4)}) {
        Segment sent = from_client(flow_);
        sent.options = options;
        EXPECT_EQ(forwarded(sent).options, options);
    }
}

TEST_F(PacketTranslate, IpOptionsAndExtensionHeaders) {
    enter(flow_);
    Segment sent = from_client(flow_);
    sent.network_options = std::string("\x01\x01\x01\x00", 4);
    sent.payload = "hello";
    Segment got = forwarded(sent);
    EXPECT_EQ(got.seq, sent.seq + flow_.client_shift);
    EXPECT_EQ(got.network_options, sent.network_options);

    LabFlow v6 = flow_v6();
    v6.id = 2;
    enter(v6);
    Segment sent6 = from_client(v6);
    sent6.next_header = IPPROTO_DSTOPTS;
    sent6.network_options = std::string("\x06\x00\x01\x04\x00\x00\x00\x00", 8);  // TCP is next; PadN
    sent6.options = timestamps(1, 2);
    got = forwarded(sent6);
    EXPECT_EQ(got.seq, sent6.seq + v6.client_shift);
    EXPECT_EQ(got.ack, sent6.ack - v6.server_shift);
}

TEST_F(PacketTranslate, FragmentsOfATranslatedAddressAreNeverHalfRight) {
    enter(flow_);
    Segment sent = from_client(flow_);
    sent.more_fragments = true;
    sent.payload = "12345678";
    EXPECT_EQ(run_ingress(lab_, frame_of(sent)).action, TC_ACT_REDIRECT)
        << "the others go the same way, untouched";
    LabFlow other = flow_;
    other.id = 2;
    other.client.port = 40001;
    other.source = endpoint("10.10.2.1:50123");
    enter(other);
    Segment sent_other = from_client(other);
    sent_other.more_fragments = true;
    EXPECT_EQ(run_ingress(lab_, frame_of(sent_other)).action, TC_ACT_SHOT);
}

TEST_F(PacketTranslate, WhatIsNotOfAFlowPassesUntouched) {
    enter(flow_);
    Segment stranger = from_client(flow_);
    stranger.tuple.source_port = htons(40002);
    const std::string frame = frame_of(stranger);
    const Ran ran = run_ingress(lab_, frame);
    EXPECT_EQ(ran.action, TC_ACT_UNSPEC);
    EXPECT_EQ(ran.frame, frame);
    // Every prefix of a segment of the flow: too short to be one, or what it says it is.
    const std::string whole = frame_of(from_client(flow_));
    for (std::size_t bytes = ethernet_bytes + sizeof(iphdr); bytes < whole.size(); ++bytes)
        EXPECT_NE(run_ingress(lab_, whole.substr(0, bytes)).action, TC_ACT_REDIRECT) << bytes;
}

}  // namespace
}  // namespace sluice::test
