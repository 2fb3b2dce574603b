// Server names against addresses, with a name server in the lab: what the log says, where a flow is led, and
// what is refused.
#include <gtest/gtest.h>

#include <mutex>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/name_server.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

// The web server's addresses, and the name server's.
constexpr const char* one = "10.10.2.2";
constexpr const char* two = "10.10.2.3";
constexpr const char* three = "10.10.2.4";
constexpr const char* four = "10.10.2.5";

std::string config(const std::string& verify, const std::string& rest = "",
                   const std::string& servers = one) {
    return "dns: {servers: '" + servers + "'}\npolicy:\n  default: allow\n  verify: " + verify + "\n" + rest;
}

std::string request(const std::string& host = "www.example.com") {
    return "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n";
}

// Answers with its own address.
void tell_address(TcpSocket& socket) {
    StreamEnd end{};
    if (socket.receive_some(65536, end).empty()) return;
    socket.send(socket.local().address.to_string());
}

struct Answer {
    Received heard;
    JsonRecord verdict;
};

class Verify : public testing::Test {
  protected:
    void reply(DnsReply reply) {
        const std::scoped_lock lock(mutex_);
        reply_ = [reply = std::move(reply)] { return reply; };
    }
    void reply_with(std::function<DnsReply()> function) {
        const std::scoped_lock lock(mutex_);
        reply_ = std::move(function);
    }
    Answer say(Gateway& gateway, const std::string& destination, const std::string& bytes = request()) {
        TcpSocket client = TcpSocket::connect(lab_.client(), endpoint(destination + ":80"));
        const auto source = client.local();
        client.send(bytes);
        const Received heard = client.receive_to_end();
        return {heard, gateway.wait_for("verdict", source)};
    }
    static void expect_refused(const Answer& answer, const std::string& why) {
        EXPECT_EQ(answer.heard.end, StreamEnd::reset);
        EXPECT_EQ(answer.heard.bytes, "");
        EXPECT_EQ(answer.verdict.text("decision"), "deny");
        EXPECT_EQ(answer.verdict.text("why"), why);
    }

    const Lab lab_{{.server_addresses = 4}};
    TcpServer server_{lab_.server(), 80, tell_address};
    std::mutex mutex_;
    std::function<DnsReply()> reply_;
    NameServer name_server_{&lab_.server(), one, 53, [this](const std::string&, bool) {
                                const std::scoped_lock lock(mutex_);
                                return reply_ ? reply_() : DnsReply{.rcode = 3};
                            }};
};

TEST_F(Verify, LogSaysWhetherTheNameGoesWithTheAddressAndLetsPass) {
    Gateway gateway(lab_, config("log"));
    reply({.addresses = {one, two}});
    const Answer good = say(gateway, two);
    EXPECT_EQ(good.heard.bytes, two);
    EXPECT_EQ(good.verdict.text("verified"), "yes");
    const Answer bad = say(gateway, three);
    EXPECT_EQ(bad.heard.bytes, three);
    EXPECT_EQ(bad.verdict.text("verified"), "no");
    EXPECT_EQ(bad.verdict.text("decision"), "allow");
    reply({.rcode = 2});
    const Answer unknown = say(gateway, one, request("other.example.com"));
    EXPECT_EQ(unknown.heard.bytes, one);
    EXPECT_EQ(unknown.verdict.text("verified"), "unknown");
    // Nothing to look up.
    const unsigned before = name_server_.questions();
    EXPECT_EQ(say(gateway, one, "SSH-2.0-x\r\n").heard.bytes, one);
    EXPECT_EQ(name_server_.questions(), before);
}

TEST_F(Verify, PinLeadsTheFlowToAnAddressOfTheName) {
    Gateway gateway(lab_, config("pin"));
    reply({.addresses = {three, two}});
    const Answer led = say(gateway, one);
    EXPECT_EQ(led.heard.bytes, three);
    EXPECT_EQ(led.verdict.text("verified"), "no");
    EXPECT_EQ(led.verdict.text("destination"), std::string(one) + ":80");
    EXPECT_EQ(led.verdict.text("dialled"), std::string(three) + ":80");
    const JsonRecord end = gateway.wait_for("end", endpoint(led.verdict.text("source")));
    EXPECT_EQ(end.text("mode"), default_splice_mode());
    EXPECT_EQ(end.text("dialled"), std::string(three) + ":80");
    const Answer good = say(gateway, two);
    EXPECT_EQ(good.heard.bytes, two) << "what the client dialled, if that is one";
    EXPECT_FALSE(good.verdict.has("dialled"));
    // A server that the gateway has come to know, and would reach without a socket.
    reply({.addresses = {three}});
    EXPECT_EQ(say(gateway, two, request("other.example.com")).heard.bytes, three);
}

TEST_F(Verify, AStreamToAPinnedAddressArrivesAndIsListedWithIt) {
    reply({.addresses = {three}});
    TcpServer echo(lab_.server(), 443, TcpServer::echo);
    Gateway gateway(lab_, config("pin"));
    TcpSocket client = TcpSocket::connect(lab_.client(), endpoint(std::string(one) + ":443"));
    const std::string hello = build_hello({.server_name = "www.example.com"});
    client.send(hello);
    EXPECT_EQ(client.receive_exactly(hello.size()), hello);
    ASSERT_TRUE(wait_until([&] { return gateway.flows({"state=spliced"}).size() == 1; }));
    const JsonRecord flow = gateway.flows().at(0);
    EXPECT_EQ(flow.text("mode"), default_splice_mode());
    EXPECT_EQ(flow.text("destination"), std::string(one) + ":443");
    EXPECT_EQ(flow.text("dialled"), std::string(three) + ":443");
    const std::string more(100'000, 'x');
    client.send(more);
    EXPECT_EQ(client.receive_exactly(more.size()), more);
    EXPECT_EQ(echo.peers().back(), client.local()) << "the client's own address and port";
}

TEST_F(Verify, APinIsNoWayAroundARuleOnAddressesNorToTheGatewayItself) {
    Gateway gateway(lab_,
                    config("pin", "  rules: [{name: keep out, destination: 10.10.2.4, action: deny}]\n"));
    reply({.addresses = {three}});
    const Answer denied = say(gateway, one);
    EXPECT_EQ(denied.heard.end, StreamEnd::reset);
    EXPECT_EQ(denied.verdict.text("rule"), "keep out");
    reply({.addresses = {"10.10.2.1", "127.0.0.1"}});
    expect_refused(say(gateway, one, request("self.example.com")), "name_unresolved");
    reply({.addresses = {three, four}});
    EXPECT_EQ(say(gateway, one, request("both.example.com")).heard.bytes, four);
    EXPECT_EQ(server_.accepted(), 1u);
}

TEST_F(Verify, EnforceRefusesWhatIsNoAddressOfTheNameAndTheServerNeverHearsOfIt) {
    Gateway gateway(lab_, config("enforce"));
    reply({.addresses = {two}});
    EXPECT_EQ(say(gateway, two).heard.bytes, two);
    const Answer bad = say(gateway, one);
    expect_refused(bad, "name_mismatch");
    EXPECT_EQ(bad.verdict.text("verified"), "no");
    EXPECT_EQ(gateway.wait_for("end", endpoint(bad.verdict.text("source"))).text("end"), "name_mismatch");
    reply({.rcode = 3});
    expect_refused(say(gateway, one, request("none.example.com")), "name_unresolved");
    // Of an IPv6 destination the name's IPv6 addresses count.
    reply({.addresses = {two, "fd00:2::2"}});
    EXPECT_EQ(say(gateway, "[fd00:2::2]", request("six.example.com")).heard.bytes, "fd00:2::2");
    reply({.addresses = {two, "fd00:2::3"}});
    expect_refused(say(gateway, "[fd00:2::2]", request("seven.example.com")), "name_mismatch");
    EXPECT_EQ(server_.accepted(), 2u);
}

TEST_F(Verify, AServiceThatAnswersWithAnotherAddressEachTimeDoesNotBreak) {
    Gateway gateway(lab_, config("enforce"));
    reply_with([n = 0]() mutable {
        return DnsReply{.addresses = {std::array{one, two, three}[static_cast<unsigned>(n++ % 3)]},
                        .ttl_s = 0};
    });
    for (const char* address : {three, two, one, two, three})
        EXPECT_EQ(say(gateway, address).heard.bytes, address);
    expect_refused(say(gateway, four), "name_mismatch");
}

TEST_F(Verify, WithoutANameServerPinAndEnforceRefuseAndLogPasses) {
    const std::string nobody = std::string(two) + ":5353";
    Gateway gateway(lab_,
                    config("enforce",
                           "  rules:\n"
                           "    - {name: p, server_name: 'suffix:pin.example', action: allow, verify: pin}\n"
                           "    - {name: l, server_name: 'suffix:log.example', action: allow, verify: log}\n"
                           "    - {name: o, server_name: 'suffix:off.example', action: allow, verify: off}\n",
                           nobody));
    expect_refused(say(gateway, one), "name_unresolved");
    expect_refused(say(gateway, one, request("www.pin.example")), "name_unresolved");
    const Answer passed = say(gateway, one, request("www.log.example"));
    EXPECT_EQ(passed.heard.bytes, one);
    EXPECT_EQ(passed.verdict.text("verified"), "unknown");
    EXPECT_FALSE(say(gateway, one, request("www.off.example")).verdict.has("verified"));
}

TEST_F(Verify, AReloadChangesWhatIsVerifiedAndWhoIsAsked) {
    Gateway gateway(lab_, config("off"));
    EXPECT_EQ(say(gateway, one).heard.bytes, one);
    const auto reload = [&](const std::string& text) {
        const std::size_t before = gateway.count_lines("reload");
        gateway.write_config(text);
        gateway.reload();
        ASSERT_TRUE(wait_until([&] { return gateway.count_lines("reload") > before; }));
        EXPECT_FALSE(gateway.log_lines("reload").back().has("warning"));
    };
    reload(config("enforce"));
    expect_refused(say(gateway, one), "name_unresolved");
    NameServer other(&lab_.server(), two, 5353,
                     [](const std::string&, bool) { return DnsReply{.addresses = {one}}; });
    reload(config("enforce", "", std::string(two) + ":5353"));
    EXPECT_EQ(say(gateway, one).heard.bytes, one) << "what the old one had said is forgotten";
}

TEST_F(Verify, AClientThatFirstLetsItsServerSpeakIsHeldToItsNameAsWell) {
    Gateway gateway(lab_, "peek: {silence_ms: 50}\n" + config("pin"));
    reply({.addresses = {two}});
    TcpSocket client = TcpSocket::connect(lab_.client(), endpoint(std::string(one) + ":80"));
    ASSERT_TRUE(wait_until([&] { return server_.accepted() == 1; })) << "the gateway has connected";
    client.send(request());
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("end", client.local()).text("end"), "name_mismatch");
}

TEST_F(Verify, WhatATrustedNameServerTellsClientsIsEvidence) {
    const std::string nobody = std::string(two) + ":5353";
    Gateway gateway(lab_, "dns: {servers: '" + nobody + "', observe: " + one +
                              "}\npolicy: {default: allow, verify: enforce}\n");
    reply({.addresses = {three}, .ttl_s = 1, .alias = "cdn.example.net"});
    const policy::Endpoint name_server = endpoint(std::string(one) + ":53");
    ASSERT_NE(ask_name_server(lab_.client(), name_server, "WWW.example.com"), "");
    EXPECT_EQ(say(gateway, three).heard.bytes, three);
    expect_refused(say(gateway, two), "name_mismatch");
    // Whom nobody trusts, and a client that speaks in the trusted one's name, prove nothing.
    NameServer evil(&lab_.server(), two, 53,
                    [](const std::string&, bool) { return DnsReply{.addresses = {two}}; });
    ASSERT_NE(ask_name_server(lab_.client(), endpoint(std::string(two) + ":53"), "www.example.com"), "");
    lab_.client().ip("address add 10.10.2.2/32 dev lo\nroute add 10.10.1.99/32 via 10.10.1.1\n");
    send_datagram(lab_.client(), name_server, endpoint("10.10.1.99:5300"),
                  dns_message(dns_query("www.example.com"), {.addresses = {two}}));
    lab_.client().ip("address delete 10.10.2.2/32 dev lo\n");
    // What the true one says comes later than all that.
    reply({.addresses = {four}});
    ASSERT_NE(ask_name_server(lab_.client(), name_server, "www.example.com"), "");
    EXPECT_EQ(say(gateway, four).heard.bytes, four);
    expect_refused(say(gateway, two), "name_mismatch");
}

}  // namespace
}  // namespace sluice::test
