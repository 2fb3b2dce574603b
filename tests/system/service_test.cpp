// The systemd unit that is shipped: what it leaves to the agent is enough.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "tests/support/gateway.h"
#include "tests/support/tcp_server.h"
#include "tests/support/wait.h"

namespace sluice::test {
namespace {

// The value of a line "key=value" of the unit.
std::string unit_value(const std::string& key) {
    std::ifstream unit(std::string(SLUICE_SOURCE_DIR) + "/packaging/sluice.service");
    for (std::string line; std::getline(unit, line);) {
        if (line.starts_with(key + "=")) return line.substr(key.size() + 1);
    }
    ADD_FAILURE() << "no " << key << " in the unit";
    return {};
}

// "CAP_NET_ADMIN CAP_BPF" as setpriv(1) wants it: "-all,+net_admin,+bpf".
std::string bounding_set() {
    std::string set = "-all";
    std::string words = unit_value("CapabilityBoundingSet");
    std::ranges::transform(words, words.begin(), [](unsigned char c) { return std::tolower(c); });
    for (std::size_t at = 0; (at = words.find("cap_", at)) != words.npos;) {
        at += 4;
        set += ",+" + words.substr(at, words.find(' ', at) - at);
    }
    return set;
}

TEST(ServicePacket, TheUnitsCapabilitiesAreEnough) {
    const Lab lab;
    TcpServer server(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab,
                    "splice: packet\ndns: {observe: [10.10.2.2]}\npolicy: {default: allow, verify: log}\n",
                    {.arguments = {}, .wrapper = {"setpriv", "--bounding-set=" + bounding_set()}});
    // The second one is reached without a socket; a low port must be bound to as well.
    for (const char* source : {"10.10.1.2:50000", "10.10.1.2:50001", "10.10.1.2:600"}) {
        TcpSocket client =
            TcpSocket::connect(lab.client(), Lab::server_v4(7000), {.source = endpoint(source)});
        client.send("question");
        EXPECT_EQ(client.receive_exactly(8), "question");
        EXPECT_TRUE(wait_until([&] { return gateway.flows().size() == 1; }));
        const JsonRecord flow = gateway.flows().at(0);
        EXPECT_EQ(flow.text("mode"), "packet");
        EXPECT_EQ(gateway.sluice({"flows", "kill", flow.text("id")}).exit_code, 0);
        EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    }
}

}  // namespace
}  // namespace sluice::test
