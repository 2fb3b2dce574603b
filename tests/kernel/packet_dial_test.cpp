// The answer to a dial's SYN becomes the client's first bytes, or ends the dial.
#include <gtest/gtest.h>

#include <string>

#include "bpf/hold_abi.h"
#include "tests/kernel/packet_exchange.h"
#include "tests/kernel/packet_segment.h"

namespace sluice::test {
namespace {

constexpr std::uint32_t client_isn = 999;
constexpr std::uint32_t listener_isn = 77'000;  // the gateway's, towards the client
constexpr std::uint32_t dial_isn = 0xfffffff0;  // the gateway's, towards the server
constexpr std::uint32_t server_isn = 4999;

std::string timestamps(std::uint32_t tsval, std::uint32_t tsecr) {
    std::string option("\x01\x01\x08\x0a", 4);
    for (const std::uint32_t value : {tsval, tsecr}) {
        const std::uint32_t wire = htonl(value);
        option.append(reinterpret_cast<const char*>(&wire), sizeof wire);
    }
    return option;
}

class PacketDialled : public testing::TestWithParam<bool> {
  protected:
    PacketDialled() : flow_(GetParam() ? flow_v6() : LabFlow{}) {
        client_ = tuple_of(flow_.client, flow_.dialled);
        server_ = datapath::packet_reverse(client_);
        leg_.peer_isn = client_isn;
        leg_.local_isn = listener_isn;
        leg_.peer_ack = listener_isn + 1;
        leg_.local_ack = client_isn + 1;
        leg_.peer_mss = leg_.local_mss = 1460;
        leg_.peer_window = 500;
        leg_.options = LEG_TIMESTAMPS;
        leg_.peer_tsval = 100;
        leg_.ifindex = lab_.ifindex("lan0");
        leg_.state = LEG_held;
        leg_.events = LEG_PAYLOAD;
    }

    // As it is when the SYN has left; `change` what you like before.
    void dial(const std::string& first_bytes) {
        first_bytes_ = first_bytes;
        leg_.peer_next = client_isn + 1 + static_cast<std::uint32_t>(first_bytes.size());
        datapath::PacketFlow about;
        about.id = 7;
        const auto slot = lab_.splice().dial(about, client_, first_bytes, {dial_isn, 0, 1460});
        ASSERT_TRUE(slot);
        slot_ = *slot;
        packet_guard guard{};
        const int guards = lab_.splice().map_fd("packet_guards");
        ASSERT_EQ(bpf_map_lookup_elem(guards, &slot_, &guard), 0);
        EXPECT_EQ(guard.state, static_cast<unsigned>(PACKET_GUARD_asked));
        guard.state = PACKET_GUARD_sent;
        bpf_map_update_elem(guards, &slot_, &guard, BPF_ANY);
        held_leg to_server{};
        to_server.local_isn = dial_isn;
        to_server.local_mss = 1460;
        to_server.local_tsval = 5555;
        to_server.options = leg_.options;
        to_server.ifindex = lab_.ifindex("wan0");
        to_server.state = LEG_learning;
        to_server.is_upstream = 1;
        to_server.dial = slot_ + 1;
        const int legs = lab_.splice().map_fd("held_legs");
        bpf_map_update_elem(legs, &client_, &leg_, BPF_ANY);
        bpf_map_update_elem(legs, &server_, &to_server, BPF_ANY);
    }
    Segment syn_ack() const {
        Segment segment;
        segment.tuple = server_;
        segment.flags = TH_SYN | TH_ACK;
        segment.seq = server_isn;
        segment.ack = dial_isn + 1;
        segment.window = 60'000;
        segment.options = std::string("\x02\x04\x05\xb4", 4);
        if ((leg_.options & LEG_TIMESTAMPS) != 0) segment.options += timestamps(8888, 5555);
        return segment;
    }
    Ran arrives(const Segment& segment) { return run_ingress(lab_, frame_of(segment)); }
    packet_guard_state state() { return lab_.splice().dial_state(slot_); }
    void expect_server_told_to_forget(const Segment& segment) {
        const Ran ran = arrives(segment);
        EXPECT_EQ(ran.action, TC_ACT_REDIRECT);
        const Segment reset = parse_frame(ran.frame);
        EXPECT_EQ(reset.flags, TH_RST);
        EXPECT_EQ(reset.seq, dial_isn + 1);
        EXPECT_EQ(std::memcmp(&reset.tuple, &client_, sizeof client_), 0);
        EXPECT_EQ(state(), PACKET_GUARD_failed);
        EXPECT_FALSE(lab_.splice().contains(client_));
        EXPECT_FALSE(lab_.splice().contains(server_));
        EXPECT_EQ(lab_.splice().size(), 0u);
    }

    PacketLab lab_;
    LabFlow flow_;
    packet_tuple client_{};
    packet_tuple server_{};
    held_leg leg_{};
    std::string first_bytes_;
    std::uint32_t slot_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Families, PacketDialled, testing::Bool(),
                         [](const auto& info) { return info.param ? "V6" : "V4"; });

TEST_P(PacketDialled, TheAnswerCarriesTheFirstBytes) {
    for (const bool with_timestamps : {true, false}) {
        if (!with_timestamps) leg_.options = 0;
        dial(with_timestamps ? "GET / HTTP/1.0\r\n\r\n" : "odd");
        const Ran ran = arrives(syn_ack());
        EXPECT_EQ(ran.action, TC_ACT_REDIRECT);
        const Segment segment = parse_frame(ran.frame);
        EXPECT_EQ(segment.payload, first_bytes_);
        EXPECT_EQ(segment.flags, TH_ACK | TH_PUSH);
        EXPECT_EQ(segment.seq, dial_isn + 1);
        EXPECT_EQ(segment.ack, server_isn + 1);
        EXPECT_EQ(segment.window, 500);
        EXPECT_EQ(segment.options,
                  with_timestamps ? timestamps(5555, 8888) + "\x01\x01\x01\x01" : "\x01\x01\x01\x01");
        EXPECT_EQ(std::memcmp(&segment.tuple, &client_, sizeof client_), 0);
        EXPECT_EQ(state(), PACKET_GUARD_on);
        EXPECT_TRUE(lab_.splice().end_dial(slot_)) << "spliced";

        // From here on the two talk, and the guard is on.
        Segment other;
        other.tuple = client_;
        other.seq = client_isn + 1;
        other.ack = listener_isn + 1;
        other.payload = std::string(first_bytes_.size(), 'x');
        const Segment passed_on = parse_frame(arrives(other).frame);
        EXPECT_EQ(passed_on.payload, first_bytes_);
        EXPECT_EQ(passed_on.seq, dial_isn + 1);
        EXPECT_EQ(passed_on.ack, server_isn + 1);
        EXPECT_TRUE(lab_.kill(7));
        bpf_map_delete_elem(lab_.splice().map_fd("packet_routes"), &client_);
        bpf_map_delete_elem(lab_.splice().map_fd("packet_routes"), &server_);
    }
}

TEST_P(PacketDialled, AnAnswerToAnotherSynOrADamagedOneChangesNothing) {
    dial("GET / HTTP/1.0\r\n\r\n");
    Segment other = syn_ack();
    other.ack = client_isn + 1;  // all that a client knows
    EXPECT_EQ(arrives(other).action, TC_ACT_SHOT);
    std::string damaged = frame_of(syn_ack());
    damaged[damaged.size() - 30] ^= 0x10;
    EXPECT_EQ(run_ingress(lab_, damaged).action, TC_ACT_SHOT);
    EXPECT_EQ(state(), PACKET_GUARD_sent);
    EXPECT_FALSE(lab_.splice().contains(client_));
    EXPECT_EQ(arrives(syn_ack()).action, TC_ACT_REDIRECT);
    EXPECT_EQ(state(), PACKET_GUARD_on);
}

TEST_P(PacketDialled, ARefusalEndsIt) {
    dial("GET / HTTP/1.0\r\n\r\n");
    Segment refusal = syn_ack();
    refusal.flags = TH_RST | TH_ACK;
    refusal.options.clear();
    EXPECT_EQ(arrives(refusal).action, TC_ACT_SHOT);
    EXPECT_EQ(state(), PACKET_GUARD_failed);
    EXPECT_FALSE(lab_.splice().end_dial(slot_));
    EXPECT_NE(arrives(syn_ack()).action, TC_ACT_REDIRECT);
    EXPECT_FALSE(lab_.splice().contains(client_));
}

// A challenge ACK: no RST, which would end the server's other connection.
TEST_P(PacketDialled, AServerThatRemembersAnotherConnectionEndsIt) {
    dial("GET / HTTP/1.0\r\n\r\n");
    Segment challenge = syn_ack();
    challenge.flags = TH_ACK;
    challenge.ack = 12'345;
    EXPECT_EQ(arrives(challenge).action, TC_ACT_SHOT);
    EXPECT_EQ(state(), PACKET_GUARD_failed);
}

TEST_P(PacketDialled, AnAgentThatHasGivenUpIsNotSurprised) {
    dial("GET / HTTP/1.0\r\n\r\n");
    EXPECT_FALSE(lab_.splice().end_dial(slot_));
    EXPECT_EQ(arrives(syn_ack()).action, TC_ACT_UNSPEC);
    EXPECT_FALSE(lab_.splice().contains(client_));
}

TEST_P(PacketDialled, AnAgentThatWasKilledLeavesNoDial) {
    dial("GET / HTTP/1.0\r\n\r\n");
    lab_.stop();
    lab_.start();
    EXPECT_EQ(arrives(syn_ack()).action, TC_ACT_UNSPEC);
    EXPECT_FALSE(lab_.splice().contains(client_));
    EXPECT_EQ(lab_.splice().size(), 0u);
}

TEST_P(PacketDialled, AClientThatHasSaidMoreMeanwhileIsSplicedLater) {
    dial("GET / HTTP/1.0\r\n\r\n");
    ++leg_.peer_next;
    bpf_map_update_elem(lab_.splice().map_fd("held_legs"), &client_, &leg_, BPF_ANY);
    expect_server_told_to_forget(syn_ack());
}

TEST_P(PacketDialled, AClientThatHasFinishedOrGoneIsNotSplicedNow) {
    for (const int event : {LEG_FIN, LEG_RST, LEG_URGENT}) {
        leg_.events = static_cast<__u8>(event);
        dial("GET / HTTP/1.0\r\n\r\n");
        expect_server_told_to_forget(syn_ack());
        lab_.splice().end_dial(slot_);
    }
}

TEST_P(PacketDialled, AServerOfOtherOptionsOrSmallerSegmentsIsNot) {
    dial("GET / HTTP/1.0\r\n\r\n");
    Segment other = syn_ack();
    other.options = std::string("\x02\x04\x05\xb4", 4);
    expect_server_told_to_forget(other);
    lab_.splice().end_dial(slot_);
    dial(std::string(200, 'x'));
    other = syn_ack();
    other.options.replace(2, 2, std::string("\x00\xc8", 2));
    expect_server_told_to_forget(other);
}

}  // namespace
}  // namespace sluice::test
