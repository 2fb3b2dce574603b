#include "policy/rule.h"

#include <gtest/gtest.h>

#include "policy/conditions_file.h"
#include "policy/policy.h"
#include "tests/unit/flow_facts.h"

namespace sluice::policy {
namespace {

constexpr Outcome allow{Action::allow, DenyStyle::reset, true};
constexpr Outcome deny{Action::deny, DenyStyle::reset, true};
constexpr Outcome deny_by_drop{Action::deny, DenyStyle::drop, false};

Rule rule(std::string name, Outcome outcome, const std::string& conditions = "") {
    Rule rule;
    rule.name = std::move(name);
    rule.outcome = outcome;
    if (conditions.empty()) return rule;
    YamlReader reader = YamlReader::parse("rule", "{" + conditions + "}");
    rule.when = read_conditions(reader.mapping("conditions", condition_keys), {});
    return rule;
}

template <typename... Rules>
Policy policy_of(Outcome fallback, Outcome malformed, Rules... rules) {
    std::vector<Rule> all;
    (all.push_back(std::move(rules)), ...);
    return Policy(std::move(all), fallback, malformed);
}

TEST(Rule, WithoutConditionsHoldsForEveryFlow) {
    for (std::size_t i = 0; i < protocol_words.size(); ++i) {
        EXPECT_TRUE(Rule().matches(flow_facts(static_cast<Protocol>(i))));
    }
}

TEST(Rule, AnyEntryOfAConditionSuffices) {
    Rule any = rule("any", allow,
                    "source: [172.16.0.0/12, 10.0.0.0/8], port: [80, 400-500], protocol: [ssh, tls], "
                    "server_name: ['exact:a', 'suffix:example.com']");
    EXPECT_TRUE(any.matches(flow_facts(Protocol::tls, "www.example.com")));
}

TEST(Rule, AllConditionsMustHoldAndTheFirstThatDoesNotIsNamed) {
    Rule all = rule("all", allow,
                    "source: 10.0.0.0/8, destination: 192.0.2.0/24, port: 443, protocol: tls, "
                    "server_name: 'suffix:example.com'");
    Facts good = flow_facts(Protocol::tls, "example.com");
    EXPECT_EQ(all.unmet(good), std::nullopt);

    Facts bad = good;
    bad.source = Endpoint::parse("11.0.0.1:1").value();
    EXPECT_EQ(all.unmet(bad), Condition::source);
    bad = good;
    bad.destination = Endpoint::parse("192.0.3.1:443").value();
    EXPECT_EQ(all.unmet(bad), Condition::destination);
    bad = good;
    bad.destination.port = 444;
    EXPECT_EQ(all.unmet(bad), Condition::port);
    bad = good;
    bad.protocol = Protocol::http;
    EXPECT_EQ(all.unmet(bad), Condition::protocol);
    bad = good;
    bad.server_name = "example.net";
    EXPECT_EQ(all.unmet(bad), Condition::server_name);
    bad.server_name = {};
    EXPECT_EQ(all.unmet(bad), Condition::server_name);
}

TEST(Policy, TheFirstRuleThatMatchesDecides) {
    Policy policy =
        policy_of(deny, deny, rule("narrow", deny_by_drop, "server_name: 'exact:www.example.com'"),
                  rule("wide", allow, "server_name: 'suffix:example.com'"));

    Verdict verdict = policy.judge(flow_facts(Protocol::tls, "www.example.com"));
    EXPECT_EQ(verdict.rule, "narrow");
    EXPECT_EQ(verdict.outcome.style, DenyStyle::drop);
    EXPECT_FALSE(verdict.outcome.log);
    EXPECT_EQ(policy.judge(flow_facts(Protocol::tls, "example.com")).rule, "wide");
    EXPECT_TRUE(policy.judge(flow_facts(Protocol::tls, "example.com")).allowed());
}

TEST(Policy, WhatNoRuleMatchesGetsTheDefault) {
    Policy policy = policy_of(deny_by_drop, allow);
    Verdict verdict = policy.judge(flow_facts(Protocol::server_first));
    EXPECT_EQ(verdict.rule, "default");
    EXPECT_FALSE(verdict.allowed());
    EXPECT_EQ(verdict.outcome.style, DenyStyle::drop);
}

TEST(Policy, AMalformedHelloIsNotSavedByARuleThatAllows) {
    Policy policy = policy_of(allow, deny_by_drop, rule("all", allow), rule("tls", allow, "protocol: tls"));
    Verdict verdict = policy.judge(flow_facts(Protocol::malformed, "example.com"));
    EXPECT_EQ(verdict.rule, "malformed");
    EXPECT_EQ(verdict.outcome.style, DenyStyle::drop);
}

TEST(Policy, MalformedAllowDoesNotOpenWhatARuleShutsByAddressPortOrProtocol) {
    auto judge = [](Rule rule, Facts facts) {
        return std::string(policy_of(allow, allow, std::move(rule)).judge(facts).rule);
    };
    Facts malformed = flow_facts(Protocol::malformed);
    EXPECT_EQ(policy_of(allow, allow, rule("earlier-allow", allow, "source: 10.1.2.3"),
                        rule("by-source", deny_by_drop, "source: 10.0.0.0/8"))
                  .judge(malformed)
                  .rule,
              "by-source");
    EXPECT_EQ(judge(rule("no-tls-there", deny, "protocol: tls, port: 443"), malformed), "no-tls-there");
    EXPECT_EQ(judge(rule("no-ssh", deny, "protocol: ssh, port: 443"), malformed), "malformed");
    malformed.began_as = Protocol::http;
    EXPECT_EQ(judge(rule("no-http", deny, "protocol: http"), malformed), "no-http");
    EXPECT_EQ(judge(rule("no-tls", deny, "protocol: tls"), malformed), "malformed");
}

TEST(Policy, AMalformedHelloHasNoNameToBeJudgedBy) {
    for (const char* name : {"'glob:**'", "none"}) {
        Policy policy = policy_of(deny, allow, rule("by-name", deny, std::string("server_name: ") + name));
        Verdict verdict = policy.judge(flow_facts(Protocol::malformed, "example.com"));
        EXPECT_EQ(verdict.rule, "malformed");
        EXPECT_TRUE(verdict.allowed());
    }
}

}  // namespace
}  // namespace sluice::policy
