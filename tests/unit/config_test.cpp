#include "userspace/agent/config.h"

#include <gtest/gtest.h>

#include "policy/lint.h"

namespace sluice::agent {
namespace {

constexpr const char* minimal = "capture: {interfaces: lan0}\npolicy: {default: deny}\n";

std::string error(const std::string& text) {
    try {
        parse_config("c.yaml", text);
        return "accepted";
    } catch (const policy::FileError& error) {
        return error.what();
    }
}

TEST(Config, WhatTheFileDoesNotSayHasADefault) {
    Config config = parse_config("c.yaml", minimal);
    EXPECT_EQ(config.capture.interfaces, std::vector<std::string>{"lan0"});
    EXPECT_TRUE(config.capture.install);
    EXPECT_TRUE(config.capture.quic_reject);
    EXPECT_FALSE(config.capture.fail_open);
    EXPECT_EQ(config.capture.port, 15001);
    EXPECT_EQ(config.capture.mark, 0x10000000u);
    EXPECT_EQ(config.upstream_source, UpstreamSource::client);
    EXPECT_EQ(config.splice, SpliceChoice::automatic);
    EXPECT_EQ(config.hello_bytes_max, 65536u);
    EXPECT_EQ(config.silence.count(), 250);
    EXPECT_EQ(config.policy->fallback().action, policy::Action::deny);
}

TEST(Config, AProxyIsThereWhenItIsAskedForAndSaysWhomItServes) {
    EXPECT_TRUE(parse_config("c.yaml", minimal).proxy.listen.empty());
    const std::string policy = "policy: {default: deny}\n";
    const Config config = parse_config(
        "c.yaml", "proxy: {listen: ['10.0.0.1:3128', '[fd00::1]:1080'], from: [10.0.0.0/8]}\n" + policy);
    EXPECT_FALSE(config.captures);
    EXPECT_FALSE(config.capture.install);
    ASSERT_EQ(config.proxy.listen.size(), 2u);
    EXPECT_EQ(config.proxy.listen[1].to_string(), "[fd00::1]:1080");
    EXPECT_TRUE(config.proxy.serves(*policy::IpAddress::parse("10.1.2.3")));
    EXPECT_FALSE(config.proxy.serves(*policy::IpAddress::parse("192.0.2.1")));
    EXPECT_FALSE(config.proxy.serves(*policy::IpAddress::parse("fd00::7")));
    EXPECT_TRUE(
        parse_config("c.yaml", "proxy: {listen: '10.0.0.1:3128', from: 10.0.0.7}\n" + std::string(minimal))
            .captures);
}

TEST(Config, AnOpenProxyIsNoSlip) {
    const auto wrong = [](const std::string& proxy) {
        return error("policy: {default: allow}\nproxy: " + proxy + "\n");
    };
    EXPECT_NE(wrong("{listen: '0.0.0.0:3128'}").find("from"), std::string::npos);
    EXPECT_NE(wrong("{from: 10.0.0.0/8}").find("listen"), std::string::npos);
    EXPECT_NE(wrong("{listen: [], from: 10.0.0.0/8}"), "accepted");
    EXPECT_NE(wrong("{listen: '10.0.0.1:3128', from: []}"), "accepted");
    EXPECT_NE(wrong("{listen: 3128, from: 10.0.0.0/8}").find("an address and a port"), std::string::npos);
    EXPECT_NE(wrong("{listen: '10.0.0.1:0', from: 10.0.0.0/8}").find("an address and a port"),
              std::string::npos);
    EXPECT_NE(wrong("{listen: '10.0.0.1:15001', from: 10.0.0.0/8}").find("another port"), std::string::npos);
    EXPECT_NE(wrong("{listen: ['10.0.0.1:1', '10.0.0.1:2', '10.0.0.1:3'], from: 10.0.0.0/8}")
                  .find("two different ports"),
              std::string::npos);
    EXPECT_NE(wrong("{listen: ['10.0.0.1:1', '10.0.0.1:1'], from: 10.0.0.0/8}").find("once"),
              std::string::npos);
    EXPECT_NE(error("policy: {default: allow}\n"), "accepted");
}

TEST(Config, EveryKeyIsUnderstood) {
    Config config = parse_config("c.yaml", R"(
proxy: {listen: "10.0.0.1:3128", from: 10.0.0.0/8}
capture:
  interfaces: [lan0, br-lan, eth0.100]
  local: true
  ports: [443, 8000-8100]
  exclude: {sources: [10.0.0.5], destinations: [10.0.0.0/8, "fd00::/8"], ports: 22}
  quic: allow
  fail: closed
  install: false
  port: 15002
  mark: 0x20000000
  routing_table: 15002
upstream: {source: gateway}
peek: {hello_bytes_max: 16384, hello_deadline_ms: 5000, silence_ms: 100}
splice: relay
timeouts: {connect_ms: 3000, idle_s: 60, half_close_s: 30}
limits: {flows: 1000, workers: 2}
dns: {servers: [192.0.2.53, '[2001:db8::53]:5353']}
policy: {default: allow}
)");
    EXPECT_EQ(config.capture.interfaces.size(), 3u);
    EXPECT_EQ(config.capture.ports[1].to_string(), "8000-8100");
    ASSERT_EQ(config.name_servers.size(), 2u);
    EXPECT_EQ(config.name_servers[0].to_string(), "192.0.2.53:53");
    EXPECT_EQ(config.name_servers[1].to_string(), "[2001:db8::53]:5353");
    EXPECT_EQ(config.capture.exclude_sources[0].to_string(), "10.0.0.5/32");
    EXPECT_EQ(config.capture.exclude_destinations[1].to_string(), "fd00::/8");
    EXPECT_EQ(config.capture.exclude_ports[0].to_string(), "22");
    EXPECT_TRUE(config.capture.local);
    EXPECT_GT(config.capture.local_idle_s, 60u) << "or the rules forget a flow before the agent does";
    EXPECT_FALSE(config.capture.quic_reject);
    EXPECT_FALSE(config.capture.fail_open);
    EXPECT_FALSE(config.capture.install);
    EXPECT_EQ(config.capture.port, 15002);
    EXPECT_EQ(config.capture.mark, 0x20000000u);
    EXPECT_EQ(config.capture.routing_table, 15002u);
    EXPECT_EQ(config.upstream_source, UpstreamSource::gateway);
    EXPECT_EQ(config.hello_bytes_max, 16384u);
    EXPECT_EQ(config.hello_deadline.count(), 5000);
    EXPECT_EQ(config.silence.count(), 100);
    EXPECT_EQ(config.splice, SpliceChoice::relay);
    EXPECT_EQ(config.connect_timeout.count(), 3000);
    EXPECT_EQ(config.idle_timeout.count(), 60);
    EXPECT_EQ(config.half_close_timeout.count(), 30);
    EXPECT_EQ(config.flows_max, 1000u);
    EXPECT_EQ(config.workers, 2u);
}

TEST(Config, NameServersAreAddressesAndObservedOnlyByRulesOfOurOwn) {
    const auto error = [](const std::string& text) -> std::string {
        try {
            parse_config("c.yaml", text + "policy: {default: allow}\n");
            return "accepted";
        } catch (const policy::FileError& error) {
            return error.what();
        }
    };
    const std::string capture = "capture: {interfaces: lan0}\n";
    const Config config = parse_config(
        "c.yaml", capture + "dns: {observe: [192.0.2.53, '2001:db8::53']}\npolicy: {default: allow}\n");
    EXPECT_EQ(config.capture.observe.size(), 2u);
    EXPECT_TRUE(config.name_servers.empty()) << "those of the system";
    EXPECT_EQ(error(capture + "dns: {servers: ns.example}\n"),
              "c.yaml:2:16: error: expected the address of a name server, such as 192.0.2.53 or "
              "[2001:db8::1]:5353, found \"ns.example\"");
    EXPECT_EQ(
        error("capture: {install: false}\ndns: {observe: 192.0.2.53}\n"),
        "c.yaml:2:16: error: expected observe: together with rules that sluice installs for interfaces:, "
        "found it without");
    EXPECT_EQ(error(capture + "dns: {observe: 192.0.2.0/24}\n"),
              "c.yaml:2:16: error: expected the address of a name server whose answers are believed, found "
              "\"192.0.2.0/24\"");
}

TEST(Config, InterfacesMayBeMissingWhenTheOperatorInstallsTheRules) {
    EXPECT_TRUE(parse_config("c.yaml", "capture: {install: false}\npolicy: {default: deny}\n")
                    .capture.interfaces.empty());
}

TEST(Config, FailingOpenIsNotPromisedToTheGatewaysOwnClients) {
    const auto with = [](const std::string& capture) {
        return "capture: {interfaces: lan0, " + capture + "}\npolicy: {default: deny}\n";
    };
    EXPECT_TRUE(parse_config("c.yaml", with("fail: open")).capture.fail_open);
    EXPECT_EQ(error(with("fail: open, local: true")),
              "c.yaml:1:35: error: expected closed, as it is always for local: true, found \"open\"");
    EXPECT_EQ(error(with("fail: open, local: false")), "accepted");
    EXPECT_EQ(error(with("fail: closed, local: true")), "accepted");
}

TEST(Config, WithoutAFileEverythingPasses) {
    Config config = default_config({"lan0"});
    EXPECT_EQ(config.capture.interfaces, std::vector<std::string>{"lan0"});
    policy::Facts facts;
    EXPECT_TRUE(config.policy->judge(facts).allowed());
    facts.protocol = policy::Protocol::malformed;
    EXPECT_TRUE(config.policy->judge(facts).allowed());
    EXPECT_TRUE(config.policy->judge(facts).outcome.log);
    EXPECT_THROW(default_config({"lan0\" }"}), policy::FileError);
}

TEST(Config, TheShippedFileIsRightAndKeepsSpecialNamesInside) {
    Config config = read_config(SLUICE_SOURCE_DIR "/packaging/sluice.yaml");
    EXPECT_TRUE(policy::lint(*config.policy).empty());
    policy::Facts facts;
    facts.protocol = policy::Protocol::tls;
    facts.server_name = "www.example.com";
    EXPECT_TRUE(config.policy->judge(facts).allowed());
    for (const char* name : {"invalid", "www.invalid", "abc.onion"}) {
        facts.server_name = name;
        policy::Verdict verdict = config.policy->judge(facts);
        EXPECT_EQ(verdict.rule, "special-use-names");
        EXPECT_EQ(verdict.outcome.style, policy::DenyStyle::alert);
    }
}

TEST(Config, AFileThatCannotBeReadIsNamedWithTheCause) {
    auto cause = [](const std::string& path) -> std::string {
        try {
            read_config(path);
            return "read";
        } catch (const policy::FileError& error) {
            return error.what();
        }
    };
    EXPECT_EQ(cause("/nonexistent/c.yaml"),
              "/nonexistent/c.yaml: error: expected a readable file, found: No such file or directory");
    EXPECT_EQ(cause("/"), "/: error: expected a readable file, found: Is a directory");
    EXPECT_EQ(cause("/dev/zero"), "/dev/zero: error: expected a file of at most 16 MiB, found a larger one");
    EXPECT_EQ(cause("/dev/null"), "/dev/null:1:1: error: expected a mapping, found an empty file");
}

TEST(Config, TheRequiredSectionsAreAskedFor) {
    EXPECT_EQ(
        error("policy: {default: deny}\n"),
        "c.yaml:1:1: error: expected capture: in a mapping with capture: or proxy:, and policy:, found none");
    EXPECT_EQ(
        error("capture: {interfaces: lan0}\n"),
        "c.yaml:1:1: error: expected policy: in a mapping with capture: or proxy:, and policy:, found none");
    EXPECT_EQ(error("capture: {port: 1}\npolicy: {default: deny}\n"),
              "c.yaml:1:10: error: expected interfaces: in a mapping with interfaces:, found none");
    EXPECT_EQ(error("capture:\npolicy: {default: deny}\n"),
              "c.yaml:1:1: error: expected a mapping with interfaces:, found nothing");
    EXPECT_EQ(error(std::string(minimal) + "timeout: {}\n"),
              "c.yaml:3:1: error: expected capture, proxy, upstream, peek, splice, timeouts, limits, dns or "
              "policy, found \"timeout\" (did you mean timeouts?)");
}

struct Mistake {
    const char* line;  // the third of the file
    const char* error;
};

class ConfigMistake : public testing::TestWithParam<Mistake> {};

TEST_P(ConfigMistake, IsOneLineWithPlaceAndExpectation) {
    EXPECT_EQ(error(std::string(minimal) + GetParam().line + "\n"),
              std::string("c.yaml:3:") + GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Values, ConfigMistake,
    testing::Values(
        Mistake{"splice: turbo", "9: error: expected auto, relay, sockmap or packet, found \"turbo\""},
        Mistake{"upstream: {source: me}", "20: error: expected client or gateway, found \"me\""},
        Mistake{"peek: {silence: 1}",
                "8: error: expected hello_bytes_max, hello_deadline_ms or silence_ms, found \"silence\""},
        Mistake{"peek: {silence_ms: 0}", "20: error: expected a number from 1 to 60000, found \"0\""},
        Mistake{"peek: {silence_ms: 250ms}", "20: error: expected a number from 1 to 60000, found \"250ms\""},
        Mistake{"peek: {silence_ms: -1}", "20: error: expected a number from 1 to 60000, found \"-1\""},
        Mistake{"peek: {silence_ms: 99999999999999999999}",
                "20: error: expected a number from 1 to 60000, found \"99999999999999999999\""},
        Mistake{"peek: {hello_deadline_ms: 200}",
                "27: error: expected silence_ms to be at most hello_deadline_ms, found 250 and 200"},
        Mistake{"peek: {hello_bytes_max: 1023}",
                "25: error: expected a number from 1024 to 1048576, found \"1023\""},
        Mistake{"timeouts: {idle_s: 1.5}", "20: error: expected a number from 1 to 2592000, found \"1.5\""},
        Mistake{"timeouts: 10", "11: error: expected a mapping, found \"10\""},
        Mistake{"limits: {workers: many}", "19: error: expected a number from 0 to 1024, found \"many\""}));

class CaptureMistake : public testing::TestWithParam<Mistake> {};

// Each stands behind "capture: {interfaces: lan0, ", 28 bytes.
TEST_P(CaptureMistake, IsOneLineWithPlaceAndExpectation) {
    std::string text =
        std::string("capture: {interfaces: lan0, ") + GetParam().line + "}\npolicy: {default: deny}\n";
    EXPECT_EQ(error(text), std::string("c.yaml:1:") + GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Values, CaptureMistake,
    testing::Values(
        Mistake{"mark: 3", "35: error: expected a mark of exactly one bit, such as 0x10000000, found \"3\""},
        Mistake{"mark: 0", "35: error: expected a number from 1 to 4294967295, found \"0\""},
        Mistake{"mark: 0x", "35: error: expected a number from 1 to 4294967295, found \"0x\""},
        Mistake{"mark: 0x100000000",
                "35: error: expected a number from 1 to 4294967295, found \"0x100000000\""},
        Mistake{"routing_table: 254",
                "44: error: expected a routing table other than the kernel's own 253, 254 and 255, "
                "found \"254\""},
        Mistake{"routing_table: 32766", "44: error: expected a number from 1 to 32765, found \"32766\""},
        Mistake{"port: 0", "35: error: expected a number from 1 to 65535, found \"0\""},
        Mistake{"quic: drop", "35: error: expected reject or allow, found \"drop\""},
        Mistake{"fail: safe", "35: error: expected closed or open, found \"safe\""},
        Mistake{"install: no", "38: error: expected true or false, found \"no\""},
        Mistake{"ports: all",
                "36: error: expected a port from 1 to 65535, or a range such as 8000-8100, found \"all\""},
        Mistake{
            "exclude: {source: 10.0.0.1}",
            "39: error: expected sources, destinations or ports, found \"source\" (did you mean sources?)"}));

TEST(Config, EveryKeyThatNeedsARestartIsNamed) {
    const auto config = [](const std::string& capture, const std::string& rest) {
        return parse_config("c.yaml", "capture: {interfaces: lan0" + capture +
                                          "}\nproxy: {listen: '10.0.0.1:3128', from: 10.0.0.0/8" + rest);
    };
    const std::string policy = "\npolicy: {default: deny}\n";
    const Config before = config("", "}" + policy);
    const auto keys = [&](const std::string& capture, const std::string& rest) {
        std::string all;
        for (const std::string& key : config(capture, rest).keys_for_restart(before))
            all += (all.empty() ? "" : " ") + key;
        return all;
    };
    EXPECT_EQ(keys("", "}\ndns: {servers: 192.0.2.53}\npolicy: {default: allow}\n"), "");
    EXPECT_EQ(
        keys(", local: true, ports: 443, exclude: {sources: 10.0.0.9, destinations: 10.0.0.8, ports: 80}, "
             "quic: allow, port: 15002, mark: 0x20000000, routing_table: 15002",
             "}" + policy),
        "capture.local capture.ports capture.exclude.sources capture.exclude.destinations "
        "capture.exclude.ports capture.quic capture.port capture.mark capture.routing_table");
    EXPECT_EQ(
        keys(", fail: open",
             "}\nupstream: {source: gateway}\nsplice: relay\ndns: {observe: 192.0.2.53}\n"
             "peek: {hello_bytes_max: 4096, hello_deadline_ms: 5000, silence_ms: 100}\n"
             "timeouts: {connect_ms: 1000, idle_s: 60, half_close_s: 60}\n"
             "limits: {flows: 10, workers: 1}" +
                 policy),
        "capture.fail upstream.source peek.hello_bytes_max peek.hello_deadline_ms peek.silence_ms splice "
        "timeouts.connect_ms timeouts.idle_s timeouts.half_close_s limits.flows limits.workers "
        "dns.observe");
}

TEST(Config, AnInterfaceIsANameAndNothingThatNftablesWouldReadOtherwise) {
    for (const char* name :
         {"''", "averyveryverylong", "'lan*'", "'a b'", "'lan0\"'", "a/b", "..", "[lan0, [x]]"}) {
        std::string text =
            error(std::string("capture: {interfaces: ") + name + "}\npolicy: {default: deny}\n");
        EXPECT_NE(text.find("error: expected an interface's name (1 to 15 letters, digits and . _ - +)"),
                  std::string::npos)
            << name << " " << text;
    }
    EXPECT_EQ(error("capture: {interfaces: [lan0, lan0]}\npolicy: {default: deny}\n"),
              "c.yaml:1:30: error: expected each interface once, found \"lan0\" again");
}

}  // namespace
}  // namespace sluice::agent
