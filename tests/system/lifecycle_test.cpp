// The agent's own life: starting, reloading, stopping, being killed; and that it leaves the host as it found
// it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/packet_counter.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

constexpr const char* allow_all = "policy: {default: allow}\n";
constexpr const char* deny_all = "policy: {default: deny}\n";

// All that an agent may have changed in a namespace.
std::string network_state(const Netns& netns) {
    std::string state;
    for (const std::vector<std::string>& argv : std::vector<std::vector<std::string>>{
             {"nft", "list", "ruleset"},
             {"ip", "rule"},
             {"ip", "-6", "rule"},
             {"ip", "route", "show", "table", "all"},
             {"ip", "-6", "route", "show", "table", "all"},
             {"sysctl", "-a", "--pattern",
              "net\\.ipv[46]\\.conf\\..*(rp_filter|forwarding|route_localnet)"}}) {
        state += run_process(argv, {.netns = &netns}).out;
    }
    return state;
}

// Whether a flow with an allowed or denied hello passes now.
bool passes(const Lab& lab, const std::string& server_name = "any.example") {
    const std::string hello = build_hello({.server_name = server_name});
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
    return errno_of([&] { client.send(hello); }) == 0 && client.receive_to_end().bytes == hello;
}

// Answers with what it got, once, and closes.
void echo_once(TcpSocket& socket) {
    StreamEnd end{};
    socket.send(socket.receive_some(65'536, end));
}

TEST(Lifecycle, StopLeavesTheHostAsItWas) {
    const Lab lab;
    const PacketCounter others(lab.gateway(), "tcp dport 1", "forward");  // somebody else's rules stay
    const std::string before = network_state(lab.gateway());
    Gateway gateway(lab, allow_all);
    EXPECT_NE(network_state(lab.gateway()), before);
    EXPECT_EQ(gateway.stop(), 0);
    EXPECT_EQ(network_state(lab.gateway()), before);
    EXPECT_EQ(gateway.agent().err(), "");
}

TEST(Lifecycle, StopEndsLiveFlowsAndLogsThem) {
    const Lab lab;
    TcpServer server(lab.server(), 443, TcpServer::echo);
    Gateway gateway(lab, std::string("splice: relay\n") + allow_all);
    TcpSocket client = TcpSocket::connect(lab.client(), Lab::server_v4(443));
    client.send("x");
    EXPECT_EQ(client.receive_exactly(1), "x");
    TcpSocket silent = TcpSocket::connect(lab.client(), Lab::server_v4(443));
    EXPECT_EQ(gateway.stop(), 0);
    EXPECT_EQ(client.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(silent.receive_to_end().end, StreamEnd::reset);
    EXPECT_EQ(gateway.wait_for("end", client.local()).text("end"), "stopped");
}

TEST(Lifecycle, KilledAgentFailsClosedAndARestartRecovers) {
    const Lab lab;
    TcpServer server(lab.server(), 443, echo_once);
    TcpServer excluded(lab.server(), 9000, TcpServer::echo);
    Gateway gateway(lab,
                    "capture: {interfaces: [lan0], exclude: {ports: [9000]}}\npolicy: {default: allow}\n");
    ASSERT_TRUE(passes(lab));
    const std::string installed = network_state(lab.gateway());
    EXPECT_EQ(gateway.kill(), 128 + SIGKILL);

    const std::uint64_t heard = lab.server().tcp_segments_received();
    const int error =
        errno_of([&] { TcpSocket::connect(lab.client(), Lab::server_v4(443), {.deadline = 300ms}); });
    EXPECT_EQ(error, ETIMEDOUT);
    EXPECT_EQ(errno_of([&] { TcpSocket::connect(lab.client(), Lab::server_v6(443), {.deadline = 300ms}); }),
              ETIMEDOUT);
    EXPECT_EQ(lab.server().tcp_segments_received(), heard);
    TcpSocket around =
        TcpSocket::connect(lab.client(), Lab::server_v4(9000));  // the router itself still works
    around.send("x");
    EXPECT_EQ(around.receive_exactly(1), "x");

    gateway.start();
    EXPECT_TRUE(passes(lab));
    EXPECT_EQ(gateway.flows({"port=9000"}).size(), 0u);
    EXPECT_EQ(gateway.stop(), 0);
    EXPECT_EQ(network_state(lab.gateway()).find("sluice"), std::string::npos);
}

TEST(Lifecycle, RestartInstallsTheSameRulesOnce) {
    const Lab lab;
    Gateway gateway(lab, allow_all);
    const std::string first = run_process({"ip", "rule"}, {.netns = &lab.gateway()}).out;
    gateway.kill();
    gateway.start();
    EXPECT_EQ(run_process({"ip", "rule"}, {.netns = &lab.gateway()}).out, first);
}

TEST(Lifecycle, FailOpenForwardsWhileNoAgentRuns) {
    const Lab lab;
    TcpServer server(lab.server(), 443, echo_once);
    Gateway gateway(lab, "capture: {interfaces: [lan0], fail: open}\npolicy: {default: deny}\n");
    EXPECT_FALSE(passes(lab));
    gateway.kill();
    EXPECT_TRUE(passes(lab));
}

TEST(Lifecycle, ReloadTakesTheNewPolicyForNewFlowsAndLeavesLiveOnes) {
    const Lab lab;
    TcpServer server(lab.server(), 443, echo_once);
    TcpServer other(lab.server(), 7000, TcpServer::echo);
    Gateway gateway(lab, allow_all);
    TcpSocket live = TcpSocket::connect(lab.client(), Lab::server_v4(7000));
    live.send("a");
    EXPECT_EQ(live.receive_exactly(1), "a");
    EXPECT_TRUE(passes(lab));

    gateway.write_config(deny_all);
    gateway.reload();
    EXPECT_EQ(gateway.wait_for("reload").text("result"), "ok");
    EXPECT_FALSE(passes(lab));
    live.send("b");
    EXPECT_EQ(live.receive_exactly(1), "b");
}

TEST(Lifecycle, ReloadOfABadFileKeepsTheOldPolicyAndSaysSo) {
    const Lab lab;
    TcpServer server(lab.server(), 443, echo_once);
    Gateway gateway(lab, allow_all);
    gateway.write_config("policy:\n  default: perhaps\n");
    gateway.reload();
    const JsonRecord line = gateway.wait_for("reload");
    EXPECT_NE(line.text("result"), "ok");
    EXPECT_NE(line.text("error").find("gateway.yaml:3:12: error: "), std::string::npos) << line;
    EXPECT_TRUE(passes(lab));
    const auto status_says_so = [&] {
        return gateway.sluice({"status"}).out.find("the last reload was REFUSED") != std::string::npos;
    };
    EXPECT_TRUE(wait_until(status_says_so));
    gateway.write_config(deny_all);
    gateway.reload();
    EXPECT_TRUE(wait_until([&] { return !status_says_so(); }));
}

TEST(Lifecycle, WhileAReloadTakesItsTimeTheAgentIsNotDeaf) {
    const Lab lab;
    TcpServer server(lab.server(), 443, echo_once);
    Gateway gateway(lab, allow_all);
    // Whoever opens this file waits until it is written.
    std::filesystem::remove(gateway.config_path());
    ASSERT_EQ(::mkfifo(gateway.config_path().c_str(), 0600), 0);
    gateway.reload();
    int file = -1;
    const auto open_file = [&] {
        file = ::open(gateway.config_path().c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        return file >= 0;
    };
    ASSERT_TRUE(wait_until(open_file)) << "nobody reads";
    ASSERT_EQ(run_process({"nft", "delete", "table", "inet", "sluice"}, {.netns = &lab.gateway()}).exit_code,
              0);
    gateway.wait_for("capture");
    EXPECT_TRUE(passes(lab));
    EXPECT_EQ(gateway.count_lines("reload"), 0u);

    const std::string text = std::string("capture: {interfaces: [lan0]}\n") + deny_all;
    EXPECT_EQ(::write(file, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ::close(file);
    EXPECT_EQ(gateway.wait_for("reload").text("result"), "ok");
    EXPECT_FALSE(passes(lab));
}

TEST(Lifecycle, MistakeInTheFileStopsTheStartAndLeavesNoRule) {
    const Lab lab;
    const TemporaryDirectory directory;
    const std::string before = network_state(lab.gateway());
    const std::string file =
        directory.write("bad.yaml", "capture: {interfaces: [lan0]}\npolicy:\n  defualt: deny\n");
    const Finished run =
        run_process({SLUICE_BINARY, "--state", "/sys/fs/bpf/sluice-test-bad", "run", "-c", file},
                    {.netns = &lab.gateway()});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_TRUE(run.err.starts_with(file + ":3:3: error: ")) << run.err;
    EXPECT_EQ(std::ranges::count(run.err, '\n'), 1) << run.err;
    EXPECT_EQ(network_state(lab.gateway()), before);
}

TEST(Lifecycle, UnknownInterfaceOrTakenPortIsOneLineAndLeavesNoRule) {
    const Lab lab;
    const TemporaryDirectory directory;
    const std::string before = network_state(lab.gateway());
    TcpServer squatter(lab.gateway(), 15001, TcpServer::swallow);
    const std::string file =
        directory.write("gateway.yaml", "capture: {interfaces: [lan0]}\npolicy: {default: deny}\n");
    const std::string state = "/sys/fs/bpf/sluice-test-" + std::to_string(::getpid());
    const Finished run =
        run_process({SLUICE_BINARY, "--state", state, "run", "-c", file}, {.netns = &lab.gateway()});
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_EQ(std::ranges::count(run.err, '\n'), 1) << run.err;
    EXPECT_NE(run.err.find("15001"), std::string::npos) << run.err;
    EXPECT_EQ(network_state(lab.gateway()), before);
    std::filesystem::remove_all(state);
}

TEST(Lifecycle, SecondAgentOnTheSameStateIsRefusedAndTheFirstWorksOn) {
    const Lab lab;
    TcpServer server(lab.server(), 443, echo_once);
    Gateway gateway(lab, allow_all);
    const std::string installed = run_process({"ip", "rule"}, {.netns = &lab.gateway()}).out;
    const Finished second = gateway.sluice({"run", "-c", gateway.config_path()});
    EXPECT_EQ(second.exit_code, 1);
    EXPECT_EQ(std::ranges::count(second.err, '\n'), 1) << second.err;
    EXPECT_EQ(run_process({"ip", "rule"}, {.netns = &lab.gateway()}).out, installed);
    EXPECT_TRUE(passes(lab));
}

TEST(Lifecycle, SecondAgentInTheSameNetworkIsRefusedWhateverItsState) {
    const Lab lab;
    TcpServer server(lab.server(), 443, echo_once);
    Gateway gateway(lab, allow_all);
    const Finished second = run_process(
        {SLUICE_BINARY, "--state", gateway.state_directory() + "-other", "run", "-c", gateway.config_path()},
        {.netns = &lab.gateway()});
    EXPECT_EQ(second.exit_code, 1);
    EXPECT_EQ(second.err, "port 15001: another sluice agent serves it in this network namespace\n");
    EXPECT_TRUE(passes(lab));
}

TEST(Lifecycle, FlushedRulesetIsInstalledAgainAndLogged) {
    const Lab lab;
    TcpServer server(lab.server(), 443, echo_once);
    Gateway gateway(lab, "policy: {default: deny}\n");
    ASSERT_EQ(run_process({"nft", "flush", "ruleset"}, {.netns = &lab.gateway()}).exit_code, 0);
    gateway.wait_for("capture");
    EXPECT_FALSE(passes(lab));
    EXPECT_EQ(server.accepted(), 0u);
}

TEST(Lifecycle, TellsSystemdWhenItIsReady) {
    const Lab lab;
    const TemporaryDirectory directory;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = (directory.path() / "notify").string();
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    std::string heard;
    {
        Gateway gateway(lab, allow_all, {.wrapper = {"env", "NOTIFY_SOCKET=" + path}});
        EXPECT_TRUE(wait_until([&] {
            char buffer[1024];
            const ssize_t count = ::recv(socket, buffer, sizeof buffer, 0);
            if (count > 0) heard.append(buffer, static_cast<std::size_t>(count));
            return heard.find("READY=1") != std::string::npos;
        }));
    }
    ::close(socket);
}

}  // namespace
}  // namespace sluice::test
