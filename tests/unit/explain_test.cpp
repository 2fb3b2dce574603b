// `sluice check` and `sluice explain`, as an operator meets them: what is printed and the exit code.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "tests/unit/command_run.h"

namespace sluice::cli {
namespace {

constexpr const char* policy_text = R"(capture: {interfaces: lan0}
policy:
  default: {action: deny, style: drop}
  malformed: allow
  rules:
    - {name: partners, source: 10.0.0.0/8, server_name: ['exact:a.example', 'suffix:example.com'], action: allow}
    - {name: no-ssh, port: 22, action: deny, log: false}
    - {name: lab, destination: 192.0.2.0/24, protocol: [tls, ssh], action: deny, style: alert}
)";

using Result = CommandResult;

class Explain : public testing::Test {
  protected:
    void SetUp() override { write(policy_text); }
    void TearDown() override { std::remove(path_.c_str()); }

    void write(const std::string& text) { std::ofstream(path_) << text; }

    Result run(std::vector<std::string> arguments) const {
        arguments.insert(arguments.end(), {"-c", path_});
        return run_command(
            [](CLI::App& app, int& exit_code) {
                add_check(app, exit_code);
                add_explain(app, exit_code);
            },
            std::move(arguments));
    }

    std::string path_ = testing::TempDir() + "explain_test-" + std::to_string(::getpid()) + ".yaml";
};

TEST_F(Explain, AServerThatIsNotDialledHasNoNameToBeAllowedBy) {
    const std::vector<std::string> mail{"explain",       "--source",       "10.1.2.3",
                                        "--destination", "203.0.113.1:25", "--server-name",
                                        "a.example",     "--protocol",     "smtp"};
    EXPECT_TRUE(run(mail).out.starts_with("decision     deny\n")) << run(mail).out;
    write(std::string(policy_text) +
          "    - {name: mail, protocol: smtp, server_name: 'exact:a.example', action: allow}\n");
    EXPECT_TRUE(run(mail).out.starts_with("decision     allow\n")) << run(mail).out;
}

TEST_F(Explain, AClientOfTheProxyHasANameInAnyProtocol) {
    std::vector<std::string> ssh{"explain",       "--source",         "10.1.2.3",
                                 "--destination", "203.0.113.1:2222", "--server-name",
                                 "a.example",     "--protocol",       "ssh"};
    EXPECT_EQ(run(ssh).exit_code, 2);
    ssh.insert(ssh.end(), {"--via", "connect"});
    EXPECT_TRUE(run(ssh).out.starts_with("decision     allow\nrule         partners")) << run(ssh).out;
}

TEST_F(Explain, NamesTheDecidingRuleAndEachConditionThatHeld) {
    Result result = run({"explain", "--server-name", "WWW.Example.com.", "--source", "10.1.2.3",
                         "--destination", "203.0.113.1:443"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.out,
              "decision     allow\n"
              "rule         partners (line 6)\n"
              "log          yes\n"
              "protocol     tls (assumed; --protocol says otherwise)\n"
              "because      source 10.1.2.3 matches 10.0.0.0/8\n"
              "because      server_name www.example.com matches suffix:example.com\n");
}

TEST_F(Explain, TheClientsMacAddressIsUnknownUnlessItIsSaid) {
    write(std::string(policy_text) + "    - {name: phones, mac: 02:00:5e, action: allow}\n");
    std::vector<std::string> question{"explain", "--source", "11.0.0.1", "--destination", "203.0.113.1:443"};
    EXPECT_TRUE(run(question).out.ends_with(": mac (unknown) does not match\n")) << run(question).out;
    question.insert(question.end(), {"--mac", "02-00-5E-10-00-01", "--json"});
    EXPECT_NE(run(question).out.find(R"("rule":"phones")"), std::string::npos) << run(question).out;
    EXPECT_NE(run(question).out.find(R"("mac":"02:00:5e:10:00:01")"), std::string::npos);
    question[6] = "02:00:5e";
    EXPECT_EQ(run(question).exit_code, 2);
    EXPECT_EQ(run(question).err,
              "sluice explain: error: --mac: expected a MAC address such as 02:00:5e:10:00:01, found "
              "\"02:00:5e\"\n");
}

TEST_F(Explain, SaysWhyEachEarlierRuleWasPassedOver) {
    Result result =
        run({"explain", "--source", "11.0.0.1", "--destination", "192.0.2.7:443", "--protocol", "ssh"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.out,
              "decision     deny\n"
              "rule         lab (line 8)\n"
              "style        alert\n"
              "log          yes\n"
              "protocol     ssh\n"
              "because      destination 192.0.2.7 matches 192.0.2.0/24\n"
              "because      protocol ssh matches ssh\n"
              "passed over  partners (line 6): source 11.0.0.1 does not match\n"
              "passed over  no-ssh (line 7): port 443 does not match\n");
}

TEST_F(Explain, SaysWhatWouldBeVerifiedAndAsksNobody) {
    write(std::string(policy_text) +
          "    - {name: web, server_name: 'suffix:example.net', action: allow, verify: pin}\n");
    const std::vector<std::string> question = {"explain",  "--server-name", "www.example.net", "--source",
                                               "11.0.0.1", "--destination", "203.0.113.1:443"};
    EXPECT_NE(
        run(question).out.find("verify       pin: if 203.0.113.1 is no address of www.example.net, one of "
                               "these is dialled instead\n"),
        std::string::npos);
    auto as_json = question;
    as_json.push_back("--json");
    EXPECT_NE(run(as_json).out.find("\"verify\":\"pin\""), std::string::npos);
}

TEST_F(Explain, JsonIsOneObjectOnOneLine) {
    Result result = run({"explain", "--json", "--source", "10.0.0.1", "--destination", "[2001:db8::1]:80"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(
        result.out,
        "{\"decision\":\"deny\",\"rule\":\"default\",\"style\":\"drop\",\"log\":true,\"source\":\"10.0.0.1\","
        "\"destination\":\"[2001:db8::1]:80\",\"protocol\":\"other\",\"server_name\":\"\",\"captured\":true,"
        "\"because\":[\"no "
        "rule "
        "matches\"],\"passed_over\":[\"partners (line 6): server_name (none) does not match\",\"no-ssh (line "
        "7): "
        "port 80 does not match\",\"lab (line 8): destination 2001:db8::1 does not match\"],"
        "\"shadowed\":[]}\n");
}

TEST_F(Explain, AServerNameThatTheProtocolCannotCarryIsAMistake) {
    Result result = run({"explain", "--source", "10.0.0.1", "--destination", "192.0.2.7:22", "--protocol",
                         "ssh", "--server-name", "www.example.com"});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.err,
              "sluice explain: error: --server-name: expected with a --protocol that carries one, not ssh\n");
}

TEST_F(Explain, ASilentClientsFlowIsToldOfFromItsBegin) {
    write(
        "capture: {interfaces: lan0}\npolicy:\n  default: deny\n  rules:\n"
        "    - {name: mail, protocol: smtp, server_name: 'suffix:example.com', action: allow}\n"
        "    - {name: not here, port: 21, action: deny}\n"
        "    - {name: files, protocol: [ftp, ssh], ssh_server_version: '2.0-*', action: allow}\n");
    const auto ask = [&](const char* port, std::vector<std::string> more) {
        more.insert(more.begin(), {"explain", "--source", "10.0.0.1", "--destination",
                                   "192.0.2.7:" + std::string(port), "--protocol"});
        return run(std::move(more)).out;
    };
    EXPECT_NE(ask("25", {"smtp", "--server-spoke-first"}).find("note         the server is dialled"),
              std::string::npos);
    EXPECT_NE(ask("25", {"smtp", "--server-name", "mx.example.com"}).find("rule         mail"),
              std::string::npos);
    EXPECT_EQ(ask("25", {"smtp"}).find("note"), std::string::npos) << "the client spoke";
    EXPECT_NE(ask("22", {"ssh", "--ssh-server-version", "2.0-x"}).find("rule         files"),
              std::string::npos);
    EXPECT_NE(ask("22", {"ftp"}).find("rule         default"), std::string::npos);
    EXPECT_EQ(run({"explain", "--source", "10.0.0.1", "--destination", "192.0.2.7:80", "--protocol", "http",
                   "--server-spoke-first"})
                  .exit_code,
              2);
}

TEST_F(Explain, AMalformedHelloIsDeniedByAddressEvenWhereMalformedIsAllowed) {
    Result result =
        run({"explain", "--source", "10.0.0.1", "--destination", "192.0.2.7:443", "--protocol", "malformed"});
    EXPECT_NE(result.out.find("rule         lab (line 8)\n"), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("because      protocol malformed matches tls\n"), std::string::npos)
        << result.out;
}

TEST_F(Explain, AnAddressCountsAsNoServerName) {
    Result result = run({"explain", "--server-name", "192.0.2.7", "--source", "10.0.0.1", "--destination",
                         "203.0.113.1:443"});
    EXPECT_NE(result.out.find("rule         default\n"), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("note         an IP address counts as no server name\n"), std::string::npos);
    EXPECT_NE(result.out.find("server_name (none) does not match"), std::string::npos);
}

TEST_F(Explain, AQuestionThatMakesNoSenseExitsWithTwo) {
    std::vector<std::vector<std::string>> questions{
        {"explain", "--source", "10.0.0", "--destination", "192.0.2.7:443"},
        {"explain", "--source", "10.0.0.1", "--destination", "192.0.2.7"},
        {"explain", "--source", "10.0.0.1", "--destination", "192.0.2.7:0"},
        {"explain", "--source", "10.0.0.1", "--destination", "192.0.2.7:443", "--protocol", "quic"},
        {"explain", "--source", "10.0.0.1", "--destination", "192.0.2.7:443", "--server-name", "a b"},
    };
    for (const auto& question : questions) {
        Result result = run(question);
        EXPECT_EQ(result.exit_code, 2);
        EXPECT_EQ(result.out, "");
        EXPECT_NE(result.err.find("sluice explain: error: --"), std::string::npos) << result.err;
    }
}

TEST_F(Explain, ABadFileExitsWithOneAndSaysWhere) {
    write("capture: {}\n");
    Result result = run({"explain", "--source", "10.0.0.1", "--destination", "192.0.2.7:443"});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.err,
              path_ + ":1:10: error: expected interfaces: in a mapping with interfaces:, found none\n");
    EXPECT_EQ(run({"check"}).exit_code, 1);
    EXPECT_EQ(run({"check", "--json"}).out, "{\"file\":\"" + path_ + "\",\"ok\":false,\"error\":\"" + path_ +
                                                ":1:10: error: expected interfaces: in a mapping with "
                                                "interfaces:, found none\",\"warnings\":[]}\n");
}

TEST_F(Explain, CheckCountsRulesAndWarnsOnStderr) {
    Result result = run({"check"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.out, path_ + ": ok, 3 rules, default deny\n");
    EXPECT_EQ(result.err, "");
    write(std::string(policy_text) + "    - {name: ssh-alert, protocol: ssh, action: deny, style: alert}\n");
    result = run({"check"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err,
              path_ +
                  ":9:7: warning: rule \"ssh-alert\" has style: alert, but its protocol: leaves TLS out; "
                  "such flows get a reset\n");
}

}  // namespace
}  // namespace sluice::cli
