// What an operator types while flows are live, and while nothing is.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* policy = R"(
peek: {silence_ms: 100}
policy:
  default: allow
  rules:
    - {name: good names, server_name: "exact:allowed.example", action: allow}
)";

// A lab with one TLS flow and one that is not, both spliced.
class Commands : public testing::Test {
  protected:
    Commands() {
        const std::string hello = build_hello();
        tls_.send(hello);
        EXPECT_EQ(tls_.receive_exactly(hello.size()), hello);
        plain_.send("hello");
        EXPECT_EQ(plain_.receive_exactly(5), "hello");
    }

    Lab lab_;
    TcpServer tls_server_{lab_.server(), 443, TcpServer::echo};
    TcpServer plain_server_{lab_.server(), 7000, TcpServer::echo};
    Gateway gateway_{lab_, policy};
    TcpSocket tls_ = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
    TcpSocket plain_ = TcpSocket::connect(lab_.client(), Lab::server_v6(7000));
};

TEST_F(Commands, FlowsListsWhatIsLiveAndForgetsWhatEnded) {
    ASSERT_TRUE(wait_until([&] { return gateway_.flows().size() == 2; }));
    const JsonRecord flow = gateway_.flows({"port=443"}).at(0);
    EXPECT_EQ(flow.text("source"), tls_.local().to_string());
    EXPECT_EQ(flow.text("destination"), "10.10.2.2:443");
    EXPECT_EQ(flow.text("server_name"), "allowed.example");
    EXPECT_EQ(flow.text("protocol"), "tls");
    EXPECT_EQ(flow.text("rule"), "good names");
    EXPECT_EQ(flow.text("mode"), default_splice_mode());
    EXPECT_EQ(flow.text("reason"), default_splice_reason());
    EXPECT_EQ(flow.text("id"), gateway_.wait_for("verdict", tls_.local()).text("flow"));
    // The counters follow within a second or two.
    const std::size_t bytes = build_hello().size();
    EXPECT_TRUE(wait_until([&] { return gateway_.flows({"port=443"}).at(0).number("bytes_up") == bytes; }));
    EXPECT_EQ(gateway_.flows({"port=443"}).at(0).number("bytes_down"), bytes);

    const Finished table = gateway_.sluice({"flows"});
    EXPECT_EQ(table.exit_code, 0);
    EXPECT_NE(table.out.find("allowed.example"), std::string::npos) << table.out;
    EXPECT_NE(table.out.find("[fd00:2::2]:7000"), std::string::npos) << table.out;

    tls_.close();
    EXPECT_TRUE(wait_until([&] { return gateway_.flows().size() == 1; }));
}

TEST_F(Commands, FlowsFilters) {
    ASSERT_TRUE(wait_until([&] { return gateway_.flows().size() == 2; }));
    for (const char* filter : {"server_name=suffix:example", "protocol=tls", "rule=good names",
                               "source=10.10.1.0/24", "destination=10.10.2.2", "allowed.exa"}) {
        SCOPED_TRACE(filter);
        const std::vector<JsonRecord> flows = gateway_.flows({filter});
        ASSERT_EQ(flows.size(), 1u);
        EXPECT_EQ(flows[0].text("destination"), "10.10.2.2:443");
    }
    EXPECT_EQ(gateway_.flows({"mode=" + default_splice_mode()}).size(), 2u);
    EXPECT_EQ(gateway_.flows({"protocol=tls", "port=7000"}).size(), 0u);
    const Finished wrong = gateway_.sluice({"flows", "port=many"});
    EXPECT_NE(wrong.exit_code, 0);
    EXPECT_NE(wrong.err, "");
}

TEST_F(Commands, KillEndsOneFlowOnBothSidesAndNoOther) {
    ASSERT_TRUE(wait_until([&] { return gateway_.flows().size() == 2; }));
    const std::string id = gateway_.flows({"port=443"}).at(0).text("id");
    const Finished kill = gateway_.sluice({"flows", "kill", id});
    EXPECT_EQ(kill.exit_code, 0) << kill.err;
    EXPECT_EQ(tls_.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway_.wait_for("end").text("end"), "killed");
    EXPECT_EQ(gateway_.flows().size(), 1u);
    plain_.send("still here");
    EXPECT_EQ(plain_.receive_exactly(10), "still here");

    const Finished again = gateway_.sluice({"flows", "kill", id});
    EXPECT_EQ(again.exit_code, 1);
    EXPECT_NE(again.err.find("no such flow"), std::string::npos) << again.err;
}

TEST_F(Commands, StatusCountsAndTellsUpFromDown) {
    tls_.close();
    EXPECT_TRUE(wait_until([&] {
        const Finished status = gateway_.sluice({"status", "--json"});
        if (status.exit_code != 0) return false;
        const JsonRecord record = JsonRecord::parse(status.out);
        return record.number("end_closed") == 1 && record.number("bytes_down") > 0;
    }));
    const JsonRecord up = JsonRecord::parse(gateway_.sluice({"status", "--json"}).out);
    EXPECT_EQ(up.text("running"), "true");
    EXPECT_EQ(up.number("flows_accepted"), 2u);
    EXPECT_EQ(up.number("flows_live"), 1u);
    EXPECT_EQ(up.number("bytes_up"), build_hello().size());  // of flows that ended
    EXPECT_NE(gateway_.sluice({"status"}).out.find("running"), std::string::npos);

    gateway_.kill();
    const Finished down = gateway_.sluice({"status", "--json"});
    EXPECT_EQ(down.exit_code, 3);
    EXPECT_EQ(JsonRecord::parse(down.out).text("running"), "false");
    EXPECT_NE(gateway_.sluice({"status"}).out.find("not running"), std::string::npos);
}

TEST_F(Commands, FlowsWorksWhileTheAgentIsDown) {
    gateway_.kill();
    const Finished flows = gateway_.sluice({"flows"});
    EXPECT_EQ(flows.exit_code, 0) << flows.err;
    if (default_splice_mode() != "packet") {
        EXPECT_EQ(gateway_.flows().size(), 0u);  // they went with the agent's sockets
        return;
    }
    ASSERT_EQ(gateway_.flows().size(), 2u);  // nobody carries them
    EXPECT_EQ(JsonRecord::parse(gateway_.sluice({"status", "--json"}).out).number("flows_live"), 2u);
    EXPECT_NE(gateway_.sluice({"status"}).out.find("they need no agent"), std::string::npos);
    plain_.send("still here");
    EXPECT_EQ(plain_.receive_exactly(10), "still here");
    const Finished kill = gateway_.sluice({"flows", "kill", gateway_.flows({"port=443"}).at(0).text("id")});
    EXPECT_EQ(kill.exit_code, 0) << kill.err;
    EXPECT_EQ(tls_.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway_.sluice({"flows", "kill", "999"}).exit_code, 1);
}

TEST(CommandsAlone, SayWhatIsMissingWhenNoAgentEverRan) {
    const Lab lab;
    for (const char* command : {"flows", "status"}) {
        const Finished finished = run_process(
            {SLUICE_BINARY, "--state", "/sys/fs/bpf/sluice-test-none", command}, {.netns = &lab.gateway()});
        EXPECT_NE(finished.exit_code, 0);
        EXPECT_NE(finished.err, "");
        EXPECT_EQ(std::ranges::count(finished.err, '\n'), 1) << finished.err;
    }
}

TEST(CommandsAlone, HelloReadsARealClientsFirstBytes) {
    const Finished hello =
        run_process({SLUICE_BINARY, "hello", "--json", "-"}, {.input = build_hello({.records = {5, 0}})});
    ASSERT_EQ(hello.exit_code, 0) << hello.err;
    const JsonRecord record = JsonRecord::parse(hello.out);
    EXPECT_EQ(record.text("status"), "found");
    EXPECT_EQ(record.text("server_name"), "allowed.example");
    EXPECT_EQ(record.text("alpn"), "http/1.1");
    EXPECT_EQ(record.number("records"), 3u);
}

}  // namespace
}  // namespace sluice::test
