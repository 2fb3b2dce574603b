// The second connection to a server that speaks first does not wait for its client's silence; and nobody is
// judged otherwise for that.
#include <gtest/gtest.h>

#include <atomic>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* policy = R"(
peek: {silence_ms: 800}
policy:
  default: deny
  rules:
    - {name: mail, protocol: smtp, action: allow}
    - {name: good names, server_name: "exact:allowed.example", action: allow}
)";

constexpr const char* banner = "220 mail ESMTP\r\n";

void greet(TcpSocket& socket) {
    socket.send(banner);
    TcpServer::echo(socket);
}

// How long a silent client waits for the greeting, as the agent saw it.
std::uint64_t silence_ms(const Lab& lab, Gateway& gateway) {
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(25));
    EXPECT_EQ(client.receive_exactly(16), banner);
    return gateway.wait_for("verdict", client.local()).number("peek_ms");
}

std::vector<JsonRecord> learned(const Gateway& gateway) {
    return JsonRecord::parse_all(gateway.sluice({"learned", "--json"}).out);
}

TEST(Learned, ASecondConnectionDoesNotWaitNorAfterTheAgentWasKilled) {
    const Lab lab;
    TcpServer server(lab.server(), 25, greet);
    Gateway gateway(lab, policy);
    EXPECT_GE(silence_ms(lab, gateway), 800u);
    EXPECT_LT(silence_ms(lab, gateway), 400u);
    gateway.kill();
    const auto known = learned(gateway);
    ASSERT_EQ(known.size(), 1u);
    EXPECT_EQ(known[0].text("destination"), "10.10.2.2:25");
    EXPECT_EQ(known[0].text("protocol"), "smtp");
    gateway.start();
    EXPECT_LT(silence_ms(lab, gateway), 400u);
    EXPECT_EQ(gateway.sluice({"learned", "forget", "10.10.2.2:25"}).exit_code, 0);
    EXPECT_EQ(gateway.sluice({"learned", "forget", "10.10.2.2:25"}).exit_code, 1) << "not known any more";
    EXPECT_EQ(gateway.sluice({"learned", "forget", "mail"}).exit_code, 2);
    EXPECT_TRUE(learned(gateway).empty());
}

TEST(Learned, AClientThatSpeaksThereFirstIsJudgedByItsWordsAndThePlaceIsForgotten) {
    const Lab lab;
    std::atomic<bool> greets = true;
    TcpServer server(lab.server(), 25, [&](TcpSocket& socket) {
        if (greets.exchange(false)) socket.send(banner);
        TcpServer::swallow(socket);
    });
    Gateway gateway(lab, policy);
    silence_ms(lab, gateway);
    ASSERT_EQ(learned(gateway).size(), 1u);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(25));
    const policy::Endpoint source = client.local();
    ASSERT_TRUE(wait_until([&] { return server.accepted() == 2; })) << "dialled at once";
    client.send(build_hello({.server_name = "denied.example"}));
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("verdict", source).text("server_name"), "denied.example");
    EXPECT_TRUE(learned(gateway).empty());
}

TEST(Learned, WhereSilenceIsDeniedNobodyHasLessTimeToSpeak) {
    const Lab lab;
    TcpServer server(lab.server(), 25, greet);
    Gateway gateway(lab, policy);
    silence_ms(lab, gateway);
    std::string stricter = policy;
    stricter.replace(stricter.find("protocol: smtp"), 14, "protocol: http");
    gateway.write_config(stricter);
    gateway.reload();
    gateway.wait_for("reload");
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(25));
    std::this_thread::sleep_for(200ms);  // a client that hesitates, not a wait
    client.send(build_hello({.server_name = "allowed.example"}));
    EXPECT_EQ(client.receive_exactly(16), banner);
    EXPECT_EQ(gateway.wait_for("verdict", client.local()).text("rule"), "good names");
}

}  // namespace
}  // namespace sluice::test
