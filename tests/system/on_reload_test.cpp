// What a reload of the policy does to flows that live, whoever carries them.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <set>
#include <thread>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

std::string policy_of(const std::string& on_reload, const std::string& rules) {
    return "policy:\n  default: allow\n  on_reload: " + on_reload + "\n" +
           (rules.empty() ? "" : "  rules:\n" + rules);
}

constexpr const char* no_bad = "    - {name: no-bad, server_name: 'exact:bad.example', action: deny}\n";

// A client of an echo server that has said something and heard it.
class LiveFlow {
  public:
    LiveFlow(const Lab& lab, std::string first_bytes)
        : socket_(TcpSocket::connect(lab.client(), Lab::server_v4(443))) {
        socket_.send(first_bytes);
        EXPECT_EQ(socket_.receive_exactly(first_bytes.size()), first_bytes);
    }
    bool goes_on() {
        socket_.send("more");
        return socket_.receive_exactly(4) == "more";
    }
    StreamEnd end() { return socket_.receive_to_end().end; }
    policy::Endpoint source() const { return socket_.local(); }

  private:
    TcpSocket socket_;
};

class OnReload : public testing::Test {
  protected:
    LiveFlow tls(const std::string& name) { return {lab_, build_hello({.server_name = name})}; }
    LiveFlow ssh(const std::string& version) { return {lab_, "SSH-" + version + "\r\n"}; }
    // The reload's line about live flows.
    JsonRecord reload(Gateway& gateway, const std::string& config) {
        const std::size_t before = gateway.count_lines("rejudged");
        gateway.write_config(config);
        gateway.reload();
        EXPECT_TRUE(wait_until([&] { return gateway.count_lines("rejudged") > before; }));
        return gateway.log_lines("rejudged").back();
    }
    static JsonRecord end_of(Gateway& gateway, const LiveFlow& flow) {
        return gateway.wait_for("end", flow.source());
    }

    const Lab lab_;
    TcpServer server_{lab_.server(), 443, TcpServer::echo};
};

TEST_F(OnReload, WhatIsNowDeniedEndsAndNothingElse) {
    Gateway gateway(lab_, policy_of("re-evaluate", ""));
    LiveFlow bad = tls("bad.example");
    LiveFlow good = tls("good.example");
    const JsonRecord line = reload(gateway, policy_of("re-evaluate", no_bad));
    EXPECT_EQ(line.text("on_reload"), "re-evaluate");
    EXPECT_EQ(line.number("flows"), 2u);
    EXPECT_EQ(line.number("cut"), 1u);
    EXPECT_EQ(bad.end(), StreamEnd::reset);
    const JsonRecord end = end_of(gateway, bad);
    EXPECT_EQ(end.text("end"), "policy_changed");
    EXPECT_EQ(end.text("rule"), "no-bad");
    EXPECT_EQ(end.text("decision"), "deny");
    EXPECT_TRUE(good.goes_on());
}

TEST_F(OnReload, AFlowThatGoesOnIsListedUnderTheRuleThatLetsIt) {
    Gateway gateway(lab_, policy_of("re-evaluate", ""));
    LiveFlow good = tls("good.example");
    ASSERT_TRUE(wait_until([&] { return gateway.flows({"rule=default"}).size() == 1; }));
    reload(gateway,
           policy_of("re-evaluate",
                     "    - {name: good ones, server_name: 'suffix:good.example', action: allow}\n"));
    EXPECT_EQ(gateway.flows({"rule=good ones"}).size(), 1u);
    EXPECT_TRUE(good.goes_on());
    // And once more, by what was recorded at first.
    const JsonRecord line =
        reload(gateway, policy_of("re-evaluate", "    - {name: web, alpn: http/1.1, action: deny}\n"));
    EXPECT_EQ(line.number("cut"), 1u);
    EXPECT_EQ(good.end(), StreamEnd::reset);
}

TEST_F(OnReload, FlowsAreJudgedByAllThatWasKnownOfThem) {
    Gateway gateway(lab_, policy_of("re-evaluate", ""));
    LiveFlow old_ssh = ssh("2.0-libssh 0.10, old");
    LiveFlow new_ssh = ssh("2.0-OpenSSH_9.2p1 Debian-2");
    LiveFlow hello = tls("good.example");
    EXPECT_EQ(
        reload(gateway, policy_of("re-evaluate",
                                  "    - {name: old, ssh_version: '2.0-libssh *, old', action: deny}\n"))
            .number("cut"),
        1u);
    EXPECT_EQ(old_ssh.end(), StreamEnd::reset);
    EXPECT_TRUE(new_ssh.goes_on());
    EXPECT_EQ(reload(gateway, policy_of("re-evaluate", "    - {name: ja4, ja4: 't1*', action: deny}\n"))
                  .number("cut"),
              1u);
    EXPECT_EQ(hello.end(), StreamEnd::reset);
    EXPECT_TRUE(new_ssh.goes_on());
}

TEST_F(OnReload, KillEndsThemAllSoThatClientsComeAgain) {
    Gateway gateway(lab_, policy_of("keep", ""));
    LiveFlow one = tls("one.example");
    LiveFlow other = ssh("2.0-x");
    EXPECT_EQ(reload(gateway, policy_of("kill", "")).number("cut"), 2u);
    EXPECT_EQ(one.end(), StreamEnd::reset);
    EXPECT_EQ(other.end(), StreamEnd::reset);
    EXPECT_EQ(end_of(gateway, one).text("end"), "policy_changed");
    EXPECT_TRUE(tls("one.example").goes_on());
}

TEST_F(OnReload, APreviewSaysWhichFlowsWouldBeCutAndCutsNone) {
    Gateway gateway(lab_, policy_of("re-evaluate", ""));
    LiveFlow bad = tls("bad.example");
    LiveFlow good = tls("good.example");
    ASSERT_TRUE(wait_until([&] { return gateway.flows({"state=spliced"}).size() == 2; }));
    gateway.write_config(policy_of("re-evaluate", no_bad));
    const Finished some = gateway.sluice({"policy", "preview", "-c", gateway.config_path()});
    EXPECT_EQ(some.exit_code, 3) << some.err;
    EXPECT_NE(some.out.find("bad.example  default => denied by no-bad"), std::string::npos) << some.out;
    EXPECT_EQ(some.out.find("good.example"), std::string::npos) << some.out;
    EXPECT_EQ(some.err, "on_reload: re-evaluate: 1 of 2 live flows would be cut\n");
    gateway.write_config(policy_of("keep", no_bad));
    const Finished none = gateway.sluice({"policy", "preview", "-c", gateway.config_path()});
    EXPECT_EQ(none.exit_code, 0);
    EXPECT_EQ(none.err,
              "on_reload: keep: none of 2 live flows would be cut; with re-evaluate 1, with kill all\n");
    EXPECT_TRUE(bad.goes_on());
    EXPECT_TRUE(good.goes_on());
}

// Only the packet splice has flows that an agent finds at its start.
TEST_F(OnReload, FlowsThatAnEarlierAgentLetInAreJudgedAtTheStart) {
    const std::string packet = "splice: packet\n";
    Gateway gateway(lab_, packet + policy_of("re-evaluate", ""));
    LiveFlow bad = tls("bad.example");
    LiveFlow good = tls("good.example");
    gateway.kill();
    EXPECT_TRUE(bad.goes_on());
    gateway.write_config(packet + policy_of("re-evaluate", no_bad));
    gateway.start();
    EXPECT_EQ(bad.end(), StreamEnd::reset);
    EXPECT_EQ(end_of(gateway, bad).text("end"), "policy_changed");
    EXPECT_EQ(gateway.wait_for("rejudged").number("cut"), 1u);
    EXPECT_TRUE(good.goes_on());
}

// Clients that open one connection after the other and hold the last ones.
class Crowd {
  public:
    Crowd(const Lab& lab, const std::string& name) {
        for (int i = 0; i < 3; ++i)
            threads_.emplace_back([this, &lab, name] { run(lab, name); });
    }
    ~Crowd() { stop_ = true; }
    std::uint64_t passed() const { return passed_; }
    std::uint64_t refused() const { return refused_; }

  private:
    void run(const Lab& lab, const std::string& name) {
        const std::string hello = build_hello({.server_name = name});
        std::deque<TcpSocket> held;
        while (!stop_) {
            try {
                TcpSocket socket = TcpSocket::connect(lab.client(), Lab::server_v4(443));
                socket.send(hello);
                socket.receive_exactly(hello.size());
                held.push_back(std::move(socket));
                ++passed_;
            } catch (const std::exception&) {
                ++refused_;
            }
            if (held.size() > 20) held.pop_front();
        }
    }

    std::atomic<bool> stop_ = false;
    std::atomic<std::uint64_t> passed_ = 0;
    std::atomic<std::uint64_t> refused_ = 0;
    std::vector<std::jthread> threads_;  // last: they use the rest
};

TEST_F(OnReload, UnderLoadEveryFlowIsJudgedByOnePolicyAndNoneSlipsThroughBetweenTwo) {
    Gateway gateway(lab_, policy_of("re-evaluate", ""));
    LiveFlow steady = tls("steady.example");
    const Crowd crowd(lab_, "bad.example");
    for (int round = 0; round < 4; ++round) {
        const std::uint64_t passed = crowd.passed();
        ASSERT_TRUE(wait_until([&] { return crowd.passed() > passed + 30; }));
        EXPECT_GT(reload(gateway, policy_of("re-evaluate", no_bad)).number("cut"), 0u);
        const std::uint64_t refused = crowd.refused();
        ASSERT_TRUE(wait_until([&] { return crowd.refused() > refused + 10; }));
        EXPECT_TRUE(gateway.flows({"server_name=bad.example", "state=spliced"}).empty());
        EXPECT_TRUE(steady.goes_on());
        reload(gateway, policy_of("re-evaluate", ""));
    }
    std::set<std::string> verdicts;
    for (const JsonRecord& line : gateway.log_lines("verdict"))
        verdicts.insert(line.text("rule") + " " + line.text("decision"));
    EXPECT_EQ(verdicts, (std::set<std::string>{"default allow", "no-bad deny"}));
}

}  // namespace
}  // namespace sluice::test
