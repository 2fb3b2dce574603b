// The lab without an agent is a plain router. If these fail, no other system test says anything about the
// product.
#include <gtest/gtest.h>

#include "tests/support/byte_stream.h"
#include "tests/support/hello_builder.h"
#include "tests/support/lab.h"
#include "tests/support/real_servers.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

TEST(Lab, ForwardsBothFamiliesAndKeepsTheClientsAddress) {
    const Lab lab;
    TcpServer server(lab.server(), 7, TcpServer::echo);
    for (const auto& to : {Lab::server_v4(7), Lab::server_v6(7)}) {
        TcpSocket client = TcpSocket::connect(lab.client(), to);
        client.send("hello");
        EXPECT_EQ(client.receive_exactly(5), "hello");
        EXPECT_EQ(server.peers().back(), client.local());
    }
}

TEST(Lab, OffersSeveralServerAddresses) {
    const Lab lab({.server_addresses = 3});
    TcpServer server(lab.server(), 7, TcpServer::echo);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7, 2));
    client.send("x");
    EXPECT_EQ(client.receive_exactly(1), "x");
}

TEST(Lab, CountsEverySegmentThatReachesTheServer) {
    const Lab lab;
    EXPECT_EQ(lab.server().tcp_segments_received(), 0u);
    EXPECT_EQ(errno_of([&] { TcpSocket::connect(lab.client(), Lab::server_v4(7)); }), ECONNREFUSED);
    EXPECT_EQ(lab.server().tcp_segments_received(), 1u);
}

TEST(Lab, TellsFinFromRst) {
    const Lab lab;
    TcpServer closing(lab.server(), 7, [](TcpSocket& socket) { socket.send("bye"); });
    TcpServer resetting(lab.server(), 8, [](TcpSocket& socket) {
        socket.receive_exactly(1);
        socket.reset();
    });
    TcpSocket first = TcpSocket::connect(lab.client(), Lab::server_v4(7));
    const Received bye = first.receive_to_end();
    EXPECT_EQ(bye.bytes, "bye");
    EXPECT_EQ(bye.end, StreamEnd::eof);
    TcpSocket second = TcpSocket::connect(lab.client(), Lab::server_v4(8));
    second.send("x");
    EXPECT_EQ(second.receive_to_end().end, StreamEnd::reset);
}

TEST(Lab, StreamSurvivesRoughLinks) {
    const Lab lab({.rough_client_link = true, .rough_server_link = true});
    StreamSum received;
    {
        TcpServer server(lab.server(), 7, [&](TcpSocket& socket) {
            received = receive_stream(socket);
            socket.send("got it");
        });
        TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(7));
        const StreamSum sent = send_stream(client, 1, 2'000'000);
        EXPECT_EQ(client.receive_exactly(6), "got it");
        EXPECT_EQ(received, sent);
    }
    EXPECT_GT(lab.client().tcp_counter("RetransSegs"), 0u) << "nothing was lost: the links are not rough";
}

TEST(Lab, RealServersServe) {
    const Lab lab;
    const Nginx nginx(lab.server(), {"allowed.example", "other.example"});
    const Sshd sshd(lab.server());
    const Finished curl = run_process({"curl", "-sS", "--cacert", nginx.certificate(), "--resolve",
                                       "allowed.example:443:10.10.2.2", "https://allowed.example/"},
                                      {.netns = &lab.client()});
    EXPECT_EQ(curl.exit_code, 0) << curl.err;
    EXPECT_TRUE(curl.out.starts_with("allowed.example 10.10.1.2 ")) << curl.out;
    std::vector<std::string> ssh = sshd.client();
    ssh.insert(ssh.end(), {"10.10.2.2", "echo", "logged in"});
    const Finished login = run_process(ssh, {.netns = &lab.client()});
    EXPECT_EQ(login.out, "logged in\n") << login.err;
}

TEST(HelloBuilder, MakesHellosOfAnySizeThatARealServerAnswers) {
    const Lab lab;
    const Nginx nginx(lab.server(), {"allowed.example"});
    for (const std::size_t bytes : {0ul, 1'700ul, 16'384ul, 65'536ul}) {
        const std::string hello = build_hello({.bytes = bytes});
        if (bytes > 0) EXPECT_EQ(hello.size(), bytes);
        TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
        client.send(hello);
        EXPECT_EQ(client.receive_exactly(3), "\x16\x03\x03") << bytes;  // ServerHello, not an alert
    }
}

TEST(HelloBuilder, CutsHellosIntoRecords) {
    const std::string whole = build_hello();
    const std::string cut = build_hello({.records = {1, 0, 100}});
    EXPECT_EQ(cut.size(), whole.size() + 3 * 5);
    EXPECT_EQ(cut.substr(0, 11), std::string("\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x00", 11));
    EXPECT_EQ(build_hello({.bytes = 40'000, .records = {5, 20'000}}).size(), 40'000u);
}

}  // namespace
}  // namespace sluice::test
