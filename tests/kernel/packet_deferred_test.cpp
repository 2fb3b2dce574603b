// What becomes of a client's packets while its first bytes are read without a socket; and the socket that is
// made of such a leg.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bpf/hold_abi.h"
#include "tests/kernel/packet_exchange.h"
#include "tests/kernel/packet_segment.h"
#include "tests/support/hello_builder.h"
#include "userspace/datapath/deferred_ring.h"
#include "userspace/datapath/leg_socket.h"
#include "userspace/datapath/monotonic.h"
#include "userspace/datapath/near_servers.h"
#include "userspace/datapath/packet_hold.h"

namespace sluice::test {
namespace {

constexpr std::uint32_t client_isn = 0xfffffffe;
constexpr std::uint32_t gateway_isn = 77'000;
constexpr const char* request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

class PacketDeferredLeg : public testing::TestWithParam<bool> {
  protected:
    PacketDeferredLeg()
        : tuple_(GetParam() ? tuple_of(flow_v6().client, flow_v6().dialled)
                            : tuple_of(LabFlow{}.client, LabFlow{}.dialled)),
          ring_(lab_.splice(), 0, [this](const deferred_client& client) {
              const auto bytes = datapath::first_bytes(client);
              handed_over_.emplace_back(bytes.begin(), bytes.end());
          }) {
        datapath::PacketHold(lab_.splice()).hold_listeners({.port = 15001, .deferred_rings = 1});
        datapath::NearServers(lab_.splice())
            .learn(tuple_, {.until_ns = 0, .clock = 1, .mss = 1460, .segment_bytes = 1400});
        put(DEFERRED_expected);
    }
    void put(deferred_state state) {
        held_leg leg{};
        leg.peer_isn = client_isn;
        leg.peer_next = client_isn + 1;
        leg.local_isn = gateway_isn;
        leg.local_ack = client_isn + 1;
        leg.peer_mss = leg.local_mss = 1460;
        leg.state = LEG_held;
        leg.deferred = state;
        bpf_map_update_elem(lab_.splice().map_fd("held_legs"), &tuple_, &leg, BPF_ANY);
    }
    held_leg leg() {
        held_leg leg{};
        EXPECT_EQ(bpf_map_lookup_elem(lab_.splice().map_fd("held_legs"), &tuple_, &leg), 0);
        return leg;
    }
    Segment says(const std::string& payload, std::uint8_t flags = TH_ACK) const {
        Segment segment;
        segment.tuple = tuple_;
        segment.flags = flags;
        segment.seq = client_isn + 1;
        segment.ack = gateway_isn + 1;
        segment.payload = payload;
        return segment;
    }
    Ran arrives(const Segment& segment) {
        const Ran ran = lab_.lab().gateway().run([&] { return run_ingress(lab_, frame_of(segment)); });
        ring_.read();
        return ran;
    }
    void expect_passes(const Segment& segment) {
        const Ran ran = arrives(segment);
        EXPECT_NE(ran.action, TC_ACT_SHOT);
        EXPECT_EQ(parse_frame(ran.frame).flags, segment.flags);
        EXPECT_EQ(leg().deferred, static_cast<unsigned>(DEFERRED_none));
        EXPECT_TRUE(handed_over_.empty());
    }

    PacketLab lab_;
    packet_tuple tuple_;
    std::vector<std::string> handed_over_;  // one that was damaged: empty
    datapath::DeferredRing ring_;
};

INSTANTIATE_TEST_SUITE_P(Families, PacketDeferredLeg, testing::Bool(),
                         [](const auto& info) { return info.param ? "V6" : "V4"; });

TEST_P(PacketDeferredLeg, TheFirstBytesGoToTheAgentAndAnRstToTheKernel) {
    const TcpServer agent(lab_.lab().gateway(), 15001, TcpServer::echo);
    for (const std::string& first :
         {std::string(request), build_hello(), std::string("odd bytes"), std::string(1400, 'x')}) {
        put(DEFERRED_expected);
        handed_over_.clear();
        EXPECT_EQ(arrives(says("")).action, TC_ACT_SHOT) << "what completes the handshake";
        const Ran ran = arrives(says(first, TH_ACK | TH_PUSH));
        EXPECT_NE(ran.action, TC_ACT_SHOT);
        const Segment reset = parse_frame(ran.frame);
        EXPECT_EQ(reset.flags, TH_ACK | TH_PUSH | TH_RST);
        EXPECT_EQ(reset.seq, client_isn + 1);
        EXPECT_EQ(handed_over_, std::vector{first});
        EXPECT_EQ(arrives(says(first, TH_ACK | TH_PUSH)).action, TC_ACT_SHOT) << "once more";
        EXPECT_EQ(handed_over_.size(), 1u);
    }
}

TEST_P(PacketDeferredLeg, WhatIsNotWholeGoesToTheKernel) {
    const std::string hello = build_hello();
    for (const std::string& first : {hello.substr(0, hello.size() - 1), hello + "x", std::string("x"),
                                     std::string(1460, 'x'), std::string(2049, 'x')}) {
        put(DEFERRED_expected);
        expect_passes(says(first));
    }
}

TEST_P(PacketDeferredLeg, WhatIsOutOfOrderGoesToTheKernel) {
    for (const int flags : {TH_ACK | TH_FIN, TH_ACK | TH_URG, TH_ACK | TH_RST, TH_RST}) {
        put(DEFERRED_expected);
        expect_passes(says(request, static_cast<std::uint8_t>(flags)));
    }
    Segment before = says(request);
    before.seq = client_isn;
    Segment other = says(request);
    other.ack = gateway_isn;
    Segment fragment = says(request);
    if (!GetParam()) fragment.more_fragments = true;
    for (const Segment& segment : {before, other}) {
        put(DEFERRED_expected);
        expect_passes(segment);
    }
    if (!GetParam()) {
        put(DEFERRED_expected);
        expect_passes(fragment);
    }
}

TEST_P(PacketDeferredLeg, ASecondAcknowledgementGetsASilentClientASocket) {
    EXPECT_EQ(arrives(says("")).action, TC_ACT_SHOT);
    expect_passes(says(""));
}

TEST_P(PacketDeferredLeg, DamagedBytesAreNoBytes) {
    std::string frame = frame_of(says(request));
    frame.back() ^= 1;
    EXPECT_NE(run_ingress(lab_, frame).action, TC_ACT_SHOT);
    ring_.read();
    EXPECT_EQ(handed_over_, std::vector{std::string()});
}

TEST_P(PacketDeferredLeg, WithoutRoomInTheRingItIsTheKernels) {
    const Ran first = run_ingress(lab_, frame_of(says(request)));
    EXPECT_EQ(parse_frame(first.frame).flags, TH_ACK | TH_RST);
    for (int i = 0; i < 1000 && leg().deferred != DEFERRED_none; ++i) {
        put(DEFERRED_expected);
        run_ingress(lab_, frame_of(says(request)));
    }
    EXPECT_EQ(leg().deferred, static_cast<unsigned>(DEFERRED_none));
    const Ran ran = run_ingress(lab_, frame_of(says(request)));
    EXPECT_EQ(parse_frame(ran.frame).flags, TH_ACK);
}

// There is no listener here.
TEST_P(PacketDeferredLeg, AClientWhoseAgentIsGoneIsReset) {
    put(DEFERRED_taken);
    const Ran ran = arrives(says(request));
    EXPECT_EQ(ran.action, TC_ACT_REDIRECT);
    const Segment reset = parse_frame(ran.frame);
    EXPECT_EQ(reset.flags, TH_RST);
    EXPECT_EQ(reset.seq, gateway_isn + 1);
    const packet_tuple back = datapath::packet_reverse(tuple_);
    EXPECT_EQ(std::memcmp(&reset.tuple, &back, sizeof back), 0);
}

TEST_P(PacketDeferredLeg, ASynOfAnotherConnectionIsAnswered) {
    put(DEFERRED_taken);
    Segment syn = says("", TH_SYN);
    syn.seq = client_isn;
    EXPECT_EQ(arrives(syn).action, TC_ACT_SHOT) << "the same again";
    syn.seq = client_isn + 1000;
    EXPECT_NE(arrives(syn).action, TC_ACT_SHOT);
}

// Both ends of one connection, made of nothing.
TEST_P(PacketDeferredLeg, TwoSocketsOfLegsTalk) {
    lab_.lab().gateway().run([&] {
        const bool v4 = !GetParam();
        const char* const text = v4 ? "127.0.0.1" : "[::1]";
        packet_tuple near_tuple =
            tuple_of(endpoint(std::string(text) + ":4000"), endpoint(std::string(text) + ":443"));
        for (const std::uint8_t options :
             {std::uint8_t{LEG_TIMESTAMPS | LEG_SACK | LEG_SCALING}, std::uint8_t{0}}) {
            held_leg near{};
            near.peer_isn = client_isn;
            near.local_isn = gateway_isn;
            near.peer_mss = near.local_mss = 1460;
            near.peer_window = 60'000;
            near.options = options;
            near.peer_scale = near.local_scale = options != 0 ? 7 : 0;
            near.local_tsval = near.peer_tsval = 1234;
            near.local_tsval_ns = near.peer_tsval_ns = datapath::monotonic_ns();
            held_leg far = near;
            std::swap(far.peer_isn, far.local_isn);
            // What waits in the one has not been acknowledged to the other: it would say it again.
            const auto one = datapath::socket_of_leg(near, near_tuple, {});
            const auto other = datapath::socket_of_leg(far, datapath::packet_reverse(near_tuple), {});
            ASSERT_TRUE(one) << std::strerror(one.error());
            ASSERT_TRUE(other) << std::strerror(other.error());
            const std::string said = ByteStream(1).next(50'000);
            std::string heard;
            ASSERT_EQ(::send(one->get(), said.data(), said.size(), 0), static_cast<ssize_t>(said.size()));
            EXPECT_TRUE(wait_until([&] {
                std::string buffer(said.size(), '\0');
                const ssize_t got = ::recv(other->get(), buffer.data(), buffer.size(), 0);
                if (got > 0) heard.append(buffer, 0, static_cast<std::size_t>(got));
                return heard.size() == said.size();
            }));
            EXPECT_EQ(sha256(heard), sha256(said));
            near_tuple.source_port = htons(static_cast<std::uint16_t>(ntohs(near_tuple.source_port) + 1));
        }
    });
}

TEST_P(PacketDeferredLeg, WhatWasReadWaitsInTheSocketAndNoOtherMayBeThere) {
    lab_.lab().gateway().run([&] {
        held_leg leg = this->leg();
        const auto socket = datapath::socket_of_leg(leg, tuple_, std::string(request));
        ASSERT_TRUE(socket) << std::strerror(socket.error());
        std::string buffer(100, '\0');
        EXPECT_EQ(::recv(socket->get(), buffer.data(), buffer.size(), 0),
                  static_cast<ssize_t>(std::strlen(request)));
        EXPECT_TRUE(buffer.starts_with(request));
        const auto second = datapath::socket_of_leg(leg, tuple_, {});
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error(), EADDRNOTAVAIL);
    });
}

}  // namespace
}  // namespace sluice::test
