// How spliced flows end, and that their entries go.
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <thread>
#include <vector>

#include "tests/kernel/packet_lab.h"
#include "tests/kernel/packet_segment.h"
#include "tests/support/byte_stream.h"

namespace sluice::test {
namespace {

constexpr std::uint32_t client_start = 1000;  // sequence number of the client's first byte

// Reads events until one flow has ended.
packet_flow_end ended(PacketLab& lab) {
    packet_flow_end end{};
    EXPECT_TRUE(wait_until([&] {
        lab.splice().read_events([&](const packet_flow_end& event) { end = event; });
        return end.flow.id != 0;
    })) << "no flow ended";
    return end;
}

bool is_closing(PacketLab& lab, const LabFlow& flow) {
    return (lab.route(lab.up(flow).arrives).flags & lab.route(lab.down(flow).arrives).flags &
            PACKET_ROUTE_FIN_ACKED) != 0;
}

TEST(PacketLife, AResetTravelsAndTheEntryGoesSoon) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    StreamEnd seen = StreamEnd::silence;
    TcpServer server(lab.lab().server(), flow.server.port, [&](TcpSocket& socket) {
        socket.receive_exactly(5);
        socket.send("world");
        seen = socket.receive_to_end().end;
    });
    TcpSocket client = TcpSocket::connect(lab.lab().client(), flow.dialled, {.source = flow.client});
    client.send("hello");
    EXPECT_EQ(client.receive_exactly(5), "world");
    client.reset();
    EXPECT_TRUE(wait_until([&] { return seen != StreamEnd::silence; }));
    EXPECT_EQ(seen, StreamEnd::reset);
    const packet_flow_end end = ended(lab);
    EXPECT_EQ(end.end, static_cast<unsigned>(FLOW_END_client_reset));
    EXPECT_EQ(end.flow.id, flow.id);
    EXPECT_EQ(lab.splice().size(), 0u);
    EXPECT_TRUE(wait_until([&] { return !lab.splice().contains(lab.up(flow).arrives); }));
    EXPECT_FALSE(lab.splice().contains(lab.down(flow).arrives));
}

TEST(PacketLife, AFreshSynOnAClosedTupleStartsAnew) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    // The server ends it, so that TIME_WAIT is on its side and the client may use its port again.
    TcpServer server(lab.lab().server(), flow.server.port, [](TcpSocket& socket) { socket.send("bye"); });
    {
        TcpSocket client = TcpSocket::connect(lab.lab().client(), flow.dialled, {.source = flow.client});
        EXPECT_EQ(client.receive_to_end().bytes, "bye");
    }
    EXPECT_TRUE(wait_until([&] { return is_closing(lab, flow); }));
    EXPECT_TRUE(lab.splice().contains(lab.up(flow).arrives)) << "in TIME_WAIT";
    const std::jthread again([&] {
        errno_of([&] {
            TcpSocket::connect(lab.lab().client(), flow.dialled, {.source = flow.client, .deadline = 500ms});
        });
    });
    EXPECT_EQ(ended(lab).end, static_cast<unsigned>(FLOW_END_closed));
    EXPECT_TRUE(wait_until([&] { return !lab.splice().contains(lab.up(flow).arrives); }));
    EXPECT_TRUE(lab.insert(flow)) << "slot and tuples are free again";
}

TEST(PacketLife, ASilentFlowIsCollectedWhileNoAgentRuns) {
    PacketLab lab({}, {.flows_max = 64, .idle_s = 1, .half_close_s = 0});
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    TcpServer server(lab.lab().server(), flow.server.port, TcpServer::echo);
    TcpSocket client = TcpSocket::connect(lab.lab().client(), flow.dialled, {.source = flow.client});
    client.send("hello");
    client.receive_exactly(5);
    lab.stop();
    const auto reader = datapath::PacketSplice::open(lab.directory());
    EXPECT_EQ(reader.size(), 1u);
    EXPECT_TRUE(wait_until([&] { return reader.size() == 0; }));
    EXPECT_FALSE(reader.contains(lab.up(flow).arrives));
}

TEST(PacketLife, AnIdleFlowStaysWhereNoTimeIsSet) {
    PacketLab lab;
    LabFlow idle;
    LabFlow reset;
    reset.id = 2;
    reset.client.port = reset.source.port = 40002;
    ASSERT_TRUE(lab.insert(idle));
    ASSERT_TRUE(lab.insert(reset));
    EXPECT_TRUE(lab.kill(2));  // its end is how we know that the collector has been by
    EXPECT_EQ(ended(lab).flow.id, 2u);
    EXPECT_TRUE(wait_until([&] { return lab.splice().size() == 1; }));
    EXPECT_TRUE(lab.splice().contains(lab.up(idle).arrives));
}

TEST(PacketLife, KillResetsBothEndsEvenWithoutAnAgent) {
    for (const bool v6 : {false, true}) {
        PacketLab lab;
        LabFlow flow;
        if (v6) {
            flow.client = flow.source = endpoint("[fd00:1::2]:40000");
            flow.dialled = flow.server = endpoint("[fd00:2::2]:443");
        }
        ASSERT_TRUE(lab.insert(flow));
        StreamEnd seen = StreamEnd::silence;
        TcpServer server(lab.lab().server(), flow.server.port, [&](TcpSocket& socket) {
            socket.send(socket.receive_exactly(5));
            seen = socket.receive_to_end().end;
        });
        TcpSocket client = TcpSocket::connect(lab.lab().client(), flow.dialled, {.source = flow.client});
        client.send("hello");
        client.receive_exactly(5);
        lab.stop();
        lab.lab().gateway().run([&] {
            auto cli = datapath::PacketSplice::open(lab.directory());
            EXPECT_FALSE(cli.kill(99));
            EXPECT_TRUE(cli.kill(flow.id));
        });
        EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
        EXPECT_TRUE(wait_until([&] { return seen != StreamEnd::silence; }));
        EXPECT_EQ(seen, StreamEnd::reset);
    }
}

TEST(PacketLife, CountsPayloadOnceAndPacketsAsTheyCame) {
    PacketLab lab({.rough_client_link = true, .rough_server_link = true});
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    constexpr std::uint64_t bytes = 3'000'000;
    {
        TcpServer server(lab.lab().server(), flow.server.port, [&](TcpSocket& socket) {
            receive_stream(socket);
            send_stream(socket, 2, bytes / 2);
        });
        TcpSocket client = TcpSocket::connect(lab.lab().client(), flow.dialled, {.source = flow.client});
        // The entries were made before the initial sequence numbers were known: where counting starts is
        // learnt from the handshake.
        lab.start_counting(flow);
        send_stream(client, 1, bytes);
        receive_stream(client);
    }
    EXPECT_TRUE(wait_until([&] { return is_closing(lab, flow); }));
    const packet_flow_end end = ended(lab);
    EXPECT_EQ(end.end, static_cast<unsigned>(FLOW_END_closed));
    EXPECT_EQ(end.bytes_up, bytes);
    EXPECT_EQ(end.bytes_down, bytes / 2);
    EXPECT_GT(end.packets_up, bytes / 65536);
}

// Its last packet becomes so much older.
void age(PacketLab& lab, const LabFlow& flow, std::chrono::nanoseconds by) {
    for (const packet_tuple& key : {lab.up(flow).arrives, lab.down(flow).arrives}) {
        packet_route route = lab.route(key);
        route.active_ns -= static_cast<__u64>(by.count());
        bpf_map_update_elem(lab.splice().map_fd("packet_routes"), &key, &route, BPF_EXIST);
    }
}

void set_tcp_option(const TcpSocket& socket, int level, int name, int value) {
    EXPECT_EQ(::setsockopt(socket.descriptor(), level, name, &value, sizeof value), 0);
}

// Linux's own keepalive comes after two hours, which are over here when the test wants it.
TEST(PacketLife, AKeepaliveAfterTwoHoursKeepsAFlow) {
    PacketLab lab({}, {.flows_max = 64, .idle_s = 7260, .half_close_s = 0});
    LabFlow kept;
    LabFlow forgotten;
    forgotten.id = 2;
    forgotten.client.port = forgotten.source.port = 40002;
    ASSERT_TRUE(lab.insert(kept));
    ASSERT_TRUE(lab.insert(forgotten));
    TcpServer server(lab.lab().server(), kept.server.port, TcpServer::echo);
    const auto open = [&](const LabFlow& flow) {
        TcpSocket client = TcpSocket::connect(lab.lab().client(), flow.dialled, {.source = flow.client});
        client.send("hello");
        client.receive_exactly(5);
        return client;
    };
    TcpSocket client = open(kept);
    const TcpSocket silent = open(forgotten);
    const auto packets = [&] { return lab.route(lab.down(kept).arrives).packets; };
    const std::uint64_t before = packets();
    age(lab, kept, 2h);
    set_tcp_option(client, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    set_tcp_option(client, IPPROTO_TCP, TCP_KEEPIDLE, 1);
    set_tcp_option(client, SOL_SOCKET, SO_KEEPALIVE, 1);
    EXPECT_TRUE(wait_until([&] { return packets() > before; })) << "no answer to the keepalive";
    age(lab, kept, 2h);
    age(lab, forgotten, 4h);
    EXPECT_EQ(ended(lab).flow.id, forgotten.id);
    EXPECT_EQ(lab.splice().size(), 1u);
    client.send("again");
    EXPECT_EQ(client.receive_exactly(5), "again");
}

// One bit of a link's, and the flow would be over.
TEST(PacketLife, ADamagedResetEndsNothing) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(lab.insert(flow));
    const packet_tuple down_key = lab.down(flow).arrives;
    Segment reset;
    reset.tuple = lab.up(flow).arrives;
    reset.flags = TH_RST | TH_ACK;
    reset.seq = static_cast<std::uint32_t>(lab.route(down_key).ack) - flow.client_shift;
    std::string frame = frame_of(reset);
    frame.back() ^= 1;  // the urgent pointer
    EXPECT_EQ(run_ingress(lab, frame).action, TC_ACT_REDIRECT) << "its receiver will see for itself";
    EXPECT_EQ(lab.splice().size(), 1u);
    EXPECT_EQ(lab.route(lab.up(flow).arrives).flags & PACKET_ROUTE_RESET, 0u);
    EXPECT_EQ(run_ingress(lab, frame_of(reset)).action, TC_ACT_REDIRECT);
    EXPECT_EQ(ended(lab).end, static_cast<unsigned>(FLOW_END_client_reset));
}

// A flow of which no payload has been sent: the client expects the server's first byte as number `ack`.
bool insert_counting_from(PacketLab& lab, const LabFlow& flow, std::uint32_t ack) {
    datapath::PacketDirection up = lab.up(flow);
    datapath::PacketDirection down = lab.down(flow);
    up.route.ack = up.route.ack_start = ack;
    up.route.seq_next = client_start;
    down.route.ack = down.route.ack_start = client_start + flow.client_shift;
    down.route.seq_next = ack - flow.server_shift;
    datapath::PacketFlow about;
    about.id = flow.id;
    return lab.splice().insert(about, up, down).has_value();
}

// Payload and acknowledgement of either end; numbers are those of the client's leg.
void client_says(PacketLab& lab, const LabFlow& flow, std::uint32_t seq, std::uint32_t ack,
                 const std::string& payload = {}) {
    Segment segment{.tuple = lab.up(flow).arrives, .seq = seq, .ack = ack, .payload = payload};
    EXPECT_EQ(run_ingress(lab, frame_of(segment)).action, TC_ACT_REDIRECT);
}
void server_says(PacketLab& lab, const LabFlow& flow, std::uint32_t seq, std::uint32_t ack,
                 const std::string& payload = {}) {
    Segment segment{.tuple = lab.down(flow).arrives,
                    .seq = seq - flow.server_shift,
                    .ack = ack + flow.client_shift,
                    .payload = payload};
    EXPECT_EQ(run_ingress(lab, frame_of(segment)).action, TC_ACT_REDIRECT);
}

// A FIN that has arrived is not sent again, whatever seems to come behind it.
TEST(PacketLife, AFinThatADamagedPacketTakesBackCountsWhenItIsAcknowledged) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(insert_counting_from(lab, flow, 2000));
    const auto send = [&](const packet_tuple& tuple, int flags, std::uint32_t seq, std::uint32_t ack,
                          const std::string& payload = {}) {
        const Segment segment{.tuple = tuple,
                              .flags = static_cast<std::uint8_t>(flags),
                              .seq = seq,
                              .ack = ack,
                              .payload = payload};
        EXPECT_EQ(run_ingress(lab, frame_of(segment)).action, TC_ACT_REDIRECT);
    };
    const packet_tuple up = lab.up(flow).arrives;
    const packet_tuple down = lab.down(flow).arrives;
    const std::uint32_t server = 2000 - flow.server_shift;
    const std::uint32_t client = client_start + flow.client_shift;
    send(up, TH_FIN | TH_ACK, client_start, 2000);
    send(down, TH_FIN | TH_ACK, server, client);
    send(up, TH_ACK, client_start + 255, 2000, "damaged");
    send(up, TH_ACK, client_start + 1, 2001);
    EXPECT_EQ(lab.splice().size(), 1u);
    send(down, TH_ACK, server + 1, client + 1);
    EXPECT_EQ(ended(lab).end, static_cast<unsigned>(FLOW_END_closed));
}

// Whichever bit: 2^31 more or less are the same in 32 bits, and not in 64.
TEST(PacketLife, ADamagedAcknowledgementIsPutRightByTheNext) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(insert_counting_from(lab, flow, 2000));
    server_says(lab, flow, 2000, client_start, std::string(1000, 'x'));
    for (int bit = 0; bit < 32; ++bit) {
        for (const std::uint32_t ack : {3000U, 3000U ^ 1U << bit, 3000U})
            client_says(lab, flow, client_start, ack);
        EXPECT_EQ(lab.listed(flow.id).down.bytes, 1000u) << bit;
    }
}

// Steps forward and back, small and large; enough of each lead round all numbers.
constexpr std::array leaps = {0x0000'0001U, 0x0000'ffffU, 0x0fff'ffffU, 0x1000'0000U, 0x3fff'ffffU,
                              0x4000'0000U, 0x7fff'0000U, 0xc000'0000U, 0xf000'0001U, 0xffff'0000U};

TEST(PacketLife, AnAcknowledgementOfWhatWasNeverSentCountsNothing) {
    PacketLab lab;
    const LabFlow flow;
    const std::uint32_t start = 0xffff'fe00;
    ASSERT_TRUE(insert_counting_from(lab, flow, start));
    std::uint32_t bytes = 0;
    for (const std::uint32_t leap : leaps) {
        server_says(lab, flow, start + bytes, client_start, std::string(1000, 'x'));
        bytes += 1000;
        for (int times = 1; times < 20; ++times) {
            client_says(lab, flow, client_start, start + bytes + leap * static_cast<std::uint32_t>(times));
            EXPECT_LE(lab.listed(flow.id).down.bytes, bytes) << leap << " x " << times;
        }
        client_says(lab, flow, client_start, start + bytes);
        EXPECT_EQ(lab.listed(flow.id).down.bytes, bytes) << leap;
    }
    client_says(lab, flow, client_start, start + bytes + 100'000'000);
    EXPECT_EQ(lab.listed(flow.id).down.bytes, bytes) << "and that is the last word";
    EXPECT_TRUE(lab.kill(flow.id));
    EXPECT_EQ(ended(lab).bytes_down, bytes);
}

TEST(PacketLife, PayloadFarAheadNeitherCountsNorHidesWhatArrives) {
    PacketLab lab;
    const LabFlow flow;
    const std::uint32_t start = 0x7fff'fe00;
    ASSERT_TRUE(insert_counting_from(lab, flow, start));
    std::uint32_t bytes = 0;
    for (const std::uint32_t leap : leaps) {
        for (std::uint32_t times = 1; times < 20; ++times) {
            client_says(lab, flow, client_start + bytes + leap * times, start, "far ahead");
            EXPECT_EQ(lab.listed(flow.id).up.bytes, bytes) << leap << " x " << times;
        }
        client_says(lab, flow, client_start + bytes, start, std::string(1000, 'x'));
        bytes += 1000;
        server_says(lab, flow, start, client_start + bytes);
        EXPECT_EQ(lab.listed(flow.id).up.bytes, bytes) << leap;
    }
}

TEST(PacketLife, CountsFarBeyondWhatTheNumbersOfAPacketHold) {
    PacketLab lab;
    const LabFlow flow;
    const std::uint32_t start = 2000;
    ASSERT_TRUE(insert_counting_from(lab, flow, start));
    std::uint64_t bytes = 0;
    while (bytes < 10'000'000'000) {
        bytes += 99'000'000;  // all but the end of it comes by another way, as far as the gateway sees
        server_says(lab, flow, static_cast<std::uint32_t>(start + bytes - 1000), client_start,
                    std::string(1000, 'x'));
        client_says(lab, flow, client_start, static_cast<std::uint32_t>(start + bytes));
        ASSERT_EQ(lab.listed(flow.id).down.bytes, bytes);
    }
}

// How long the other pieces of a segment are, the gateway does not see.
TEST(PacketLife, AFragmentedSegmentCountsWhole) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(insert_counting_from(lab, flow, 2000));
    Segment first{.tuple = lab.up(flow).arrives, .seq = client_start, .payload = std::string(1000, 'x')};
    first.more_fragments = true;
    EXPECT_EQ(run_ingress(lab, frame_of(first)).action, TC_ACT_REDIRECT);
    server_says(lab, flow, 2000, client_start + 1460);
    EXPECT_EQ(lab.listed(flow.id).up.bytes, 1460u);
}

// A damaged packet of those that come after the last acknowledgement would stay the last word.
TEST(PacketLife, AfterTheAcknowledgementOfTheFinNoOtherCounts) {
    PacketLab lab;
    const LabFlow flow;
    ASSERT_TRUE(insert_counting_from(lab, flow, 2000));
    server_says(lab, flow, 2000, client_start, std::string(1000, 'x'));
    Segment fin;
    fin.tuple = lab.down(flow).arrives;
    fin.flags = TH_FIN | TH_ACK;
    fin.seq = 3000 - flow.server_shift;
    fin.ack = 1000 + flow.client_shift;
    Segment acknowledgement;
    acknowledgement.tuple = lab.up(flow).arrives;
    run_ingress(lab, frame_of(fin));
    for (const std::uint32_t ack : {3001U, 2489U}) {
        acknowledgement.ack = ack;
        EXPECT_EQ(run_ingress(lab, frame_of(acknowledgement)).action, TC_ACT_REDIRECT);
        EXPECT_EQ(lab.listed(flow.id).down.bytes, 1000u);
    }
}

}  // namespace
}  // namespace sluice::test
