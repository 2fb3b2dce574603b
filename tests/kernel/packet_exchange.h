#pragma once
// A stream each way through one flow of the packet lab, compared by SHA-256.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "tests/kernel/packet_lab.h"
#include "tests/support/byte_stream.h"

namespace sluice::test {

inline constexpr std::uint64_t megabyte = 1'000'000;

// Sends and receives at once over a flow that is already in the table, to a server that does the same.
inline void exchange(const LabFlow& flow, std::uint64_t bytes_up, std::uint64_t bytes_down,
                     const Netns& client_side, const Netns& server_side,
                     const std::function<void()>& in_the_middle = {}) {
    StreamSum heard_by_server;
    StreamSum said_by_server;
    StreamSum heard_by_client;
    StreamSum said_by_client;
    std::atomic<bool> done = false;
    {
        TcpServer server(server_side, flow.server.port, [&](TcpSocket& socket) {
            std::jthread reader([&] { heard_by_server = receive_stream(socket); });
            said_by_server = send_stream(socket, 2, bytes_down);
            reader.join();
            done = true;
        });
        TcpSocket client = TcpSocket::connect(client_side, flow.dialled, {.source = flow.client});
        std::jthread reader([&] { heard_by_client = receive_stream(client); });
        if (in_the_middle) in_the_middle();
        said_by_client = send_stream(client, 1, bytes_up);
        reader.join();
        EXPECT_TRUE(wait_until([&] { return done.load(); }));
    }
    EXPECT_EQ(heard_by_client, said_by_server);
    EXPECT_EQ(heard_by_server, said_by_client);
}

inline void exchange(PacketLab& lab, const LabFlow& flow, std::uint64_t bytes,
                     const std::function<void()>& in_the_middle = {}) {
    exchange(flow, bytes, bytes, lab.lab().client(), lab.lab().server(), in_the_middle);
}

inline LabFlow flow_v6() {
    LabFlow flow;
    flow.client = flow.source = endpoint("[fd00:1::2]:40000");
    flow.dialled = flow.server = endpoint("[fd00:2::2]:443");
    return flow;
}

}  // namespace sluice::test
