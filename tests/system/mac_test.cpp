// Clients told apart by their MAC addresses: two on links of the gateway's, and one behind a router.
//
//     behind 10.10.9.2 ---- laptop (the lab's client) 10.10.1.2 ---- lan0 gateway
//                                            printer 10.10.3.2 ---- lan1
#include <gtest/gtest.h>

#include "tests/support/gateway.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* laptop_mac = "02:00:5e:10:00:01";
constexpr const char* printer_mac = "02:00:5e:10:00:02";
constexpr const char* head = R"(
capture: {interfaces: [lan0, lan1]}
proxy: {listen: ["10.10.1.1:3128", "10.10.3.1:3128"], from: 10.10.0.0/16}
policy:
  default: deny
  on_reload: re-evaluate
  sets: {macs: {printers: ["02:00:5e:10:00:02"]}}
  rules:
)";
const std::string by_mac = std::string(head) + R"(
    - {name: laptop, port: [80, 443], mac: "02:00:5e:10:00:01", action: allow}
    - {name: no printers, port: 8080, not: {mac: set:printers}, action: allow}
)";
const std::string by_port = std::string(head) + "    - {name: all, port: 443, action: allow}\n";

class Mac : public testing::Test {
  protected:
    Mac() {
        lab_.client().ip(std::string("link set eth0 address ") + laptop_mac + "\n");
        lab_.gateway().ip("link add lan1 type veth peer name eth0 netns " + printer_.name() +
                          "\naddress add 10.10.3.1/24 dev lan1\nlink set lan1 up\n"
                          "route add 10.10.9.0/24 via 10.10.1.2\n");
        printer_.ip(std::string("link set eth0 address ") + printer_mac +
                    " up\naddress add 10.10.3.2/24 dev eth0\nroute add default via 10.10.3.1\n");
        lab_.client().sysctl("net/ipv4/ip_forward", "1");
        lab_.client().ip("link add eth1 type veth peer name eth0 netns " + behind_.name() +
                         "\naddress add 10.10.9.1/24 dev eth1\nlink set eth1 up\n");
        behind_.ip("link set eth0 up\naddress add 10.10.9.2/24 dev eth0\nroute add default via 10.10.9.1\n");
    }

    // What becomes of a client that says something, as "RULE MAC".
    std::string verdict_on(Gateway& gateway, const Netns& client, const policy::Endpoint& server) {
        TcpSocket socket = TcpSocket::connect(client, server);
        const auto source = socket.local();
        socket.send("hello");
        socket.shutdown_write();
        const Received heard = socket.receive_to_end();
        const JsonRecord verdict = gateway.wait_for("verdict", source);
        EXPECT_EQ(heard.bytes, verdict.text("decision") == "allow" ? "hello" : "");
        return verdict.text("rule") + " " + verdict.text("mac");
    }

    const Lab lab_;
    const Netns printer_{"printer"};
    const Netns behind_{"behind"};
    TcpServer server_{lab_.server(), 443, TcpServer::echo};
    TcpServer other_server_{lab_.server(), 8080, TcpServer::echo};
};

TEST_F(Mac, OfANeighbourDecidesAndARouterLendsItsOwnToNobody) {
    Gateway gateway(lab_, by_mac);
    EXPECT_EQ(verdict_on(gateway, lab_.client(), Lab::server_v4(443)), "laptop 02:00:5e:10:00:01");
    TcpServer v6_server(lab_.server(), 80, TcpServer::echo);
    EXPECT_EQ(verdict_on(gateway, lab_.client(), Lab::server_v6(80)), "laptop 02:00:5e:10:00:01");
    EXPECT_EQ(verdict_on(gateway, printer_, Lab::server_v4(443)), "default 02:00:5e:10:00:02");
    EXPECT_EQ(verdict_on(gateway, behind_, Lab::server_v4(443)), "default ");
    // Who may be anybody is not taken for somebody else.
    EXPECT_EQ(verdict_on(gateway, lab_.client(), Lab::server_v4(8080)), "no printers 02:00:5e:10:00:01");
    EXPECT_EQ(verdict_on(gateway, printer_, Lab::server_v4(8080)), "default 02:00:5e:10:00:02");
    EXPECT_EQ(verdict_on(gateway, behind_, Lab::server_v4(8080)), "default ");
}

TEST_F(Mac, OfAClientOfTheProxyDecidesAsSoonAsItAsks) {
    const Gateway gateway(lab_, by_mac);
    const auto answer_to = [&](const Netns& client, const std::string& proxy) {
        TcpSocket socket = TcpSocket::connect(client, endpoint(proxy));
        socket.send("CONNECT 10.10.2.2:443 HTTP/1.1\r\nHost: 10.10.2.2:443\r\n\r\n");
        socket.shutdown_write();
        return socket.receive_to_end().bytes.substr(0, 12);
    };
    EXPECT_EQ(answer_to(lab_.client(), "10.10.1.1:3128"), "HTTP/1.1 200");
    EXPECT_EQ(answer_to(printer_, "10.10.3.1:3128"), "HTTP/1.1 403");
    EXPECT_EQ(answer_to(behind_, "10.10.1.1:3128"), "HTTP/1.1 403");
}

// The policy under which they began did not ask for it.
TEST_F(Mac, IsFoundOutForLiveFlowsWhenANewPolicyAsksForIt) {
    Gateway gateway(lab_, by_port);
    TcpSocket laptop = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
    TcpSocket printer = TcpSocket::connect(printer_, Lab::server_v4(443));
    for (TcpSocket* client : {&laptop, &printer}) {
        client->send("hello");
        EXPECT_EQ(client->receive_exactly(5), "hello");
    }
    EXPECT_EQ(gateway.wait_for("verdict", laptop.local()).text("mac"), "") << "nobody asks";
    ASSERT_TRUE(wait_until([&] { return gateway.flows().size() == 2; }));
    gateway.write_config(by_mac);
    const Finished preview = gateway.sluice({"policy", "preview", "-c", gateway.config_path(), "--json"});
    EXPECT_NE(preview.out.find(printer.local().to_string()), std::string::npos) << preview.out;
    EXPECT_EQ(preview.out.find(laptop.local().to_string()), std::string::npos) << preview.out;
    gateway.reload();
    const JsonRecord line = gateway.wait_for("rejudged");
    EXPECT_EQ(line.number("flows"), 2u);
    EXPECT_EQ(line.number("cut"), 1u);
    EXPECT_EQ(printer.receive_to_end().end, StreamEnd::reset);
    laptop.send("more");
    EXPECT_EQ(laptop.receive_exactly(4), "more");
}

}  // namespace
}  // namespace sluice::test
