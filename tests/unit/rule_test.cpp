#include "policy/rule.h"

#include <gtest/gtest.h>

#include "policy/policy.h"

namespace sluice::policy {
namespace {

constexpr Outcome allow{Action::allow, DenyStyle::reset, true};
constexpr Outcome deny{Action::deny, DenyStyle::reset, true};
constexpr Outcome deny_by_drop{Action::deny, DenyStyle::drop, false};

Facts facts(Protocol protocol, std::string_view server_name = {}) {
    return {Endpoint::parse("10.1.2.3:40000").value(), Endpoint::parse("192.0.2.1:443").value(), protocol,
            server_name};
}

Rule rule(std::string name, Outcome outcome) {
    Rule rule;
    rule.name = std::move(name);
    rule.outcome = outcome;
    return rule;
}

TEST(Rule, WithoutConditionsHoldsForEveryFlow) {
    for (std::size_t i = 0; i < protocol_words.size(); ++i) {
        EXPECT_TRUE(Rule().matches(facts(static_cast<Protocol>(i))));
    }
}

TEST(Rule, AnyEntryOfAConditionSuffices) {
    Rule any;
    any.sources = {Cidr::parse("172.16.0.0/12").value(), Cidr::parse("10.0.0.0/8").value()};
    any.ports = {PortRange::parse("80").value(), PortRange::parse("400-500").value()};
    any.protocols = {Protocol::ssh, Protocol::tls};
    any.server_names = {NamePattern::parse("exact:a").value(),
                        NamePattern::parse("suffix:example.com").value()};
    EXPECT_TRUE(any.matches(facts(Protocol::tls, "www.example.com")));
}

TEST(Rule, AllConditionsMustHoldAndTheFirstThatDoesNotIsNamed) {
    Rule all;
    all.sources = {Cidr::parse("10.0.0.0/8").value()};
    all.destinations = {Cidr::parse("192.0.2.0/24").value()};
    all.ports = {PortRange::parse("443").value()};
    all.protocols = {Protocol::tls};
    all.server_names = {NamePattern::parse("suffix:example.com").value()};
    Facts good = facts(Protocol::tls, "example.com");
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
    Rule narrow = rule("narrow", deny_by_drop);
    narrow.server_names = {NamePattern::parse("exact:www.example.com").value()};
    Rule wide = rule("wide", allow);
    wide.server_names = {NamePattern::parse("suffix:example.com").value()};
    Policy policy({narrow, wide}, deny, deny);

    Verdict verdict = policy.judge(facts(Protocol::tls, "www.example.com"));
    EXPECT_EQ(verdict.rule, "narrow");
    EXPECT_EQ(verdict.outcome.style, DenyStyle::drop);
    EXPECT_FALSE(verdict.outcome.log);
    EXPECT_EQ(policy.judge(facts(Protocol::tls, "example.com")).rule, "wide");
    EXPECT_TRUE(policy.judge(facts(Protocol::tls, "example.com")).allowed());
}

TEST(Policy, WhatNoRuleMatchesGetsTheDefault) {
    Policy policy({}, deny_by_drop, allow);
    Verdict verdict = policy.judge(facts(Protocol::server_first));
    EXPECT_EQ(verdict.rule, "default");
    EXPECT_FALSE(verdict.allowed());
    EXPECT_EQ(verdict.outcome.style, DenyStyle::drop);
}

TEST(Policy, AMalformedHelloIsNotSavedByARuleThatAllows) {
    Rule all = rule("all", allow);
    Rule tls = rule("tls", allow);
    tls.protocols = {Protocol::tls};
    Policy policy({all, tls}, allow, deny_by_drop);
    Verdict verdict = policy.judge(facts(Protocol::malformed, "example.com"));
    EXPECT_EQ(verdict.rule, "malformed");
    EXPECT_EQ(verdict.outcome.style, DenyStyle::drop);
}

TEST(Policy, MalformedAllowDoesNotOpenWhatARuleShutsByAddressPortOrProtocol) {
    Rule first = rule("earlier-allow", allow);
    first.sources = {Cidr::parse("10.1.2.3").value()};
    Rule by_source = rule("by-source", deny_by_drop);
    by_source.sources = {Cidr::parse("10.0.0.0/8").value()};
    EXPECT_EQ(Policy({first, by_source}, allow, allow).judge(facts(Protocol::malformed)).rule, "by-source");

    Rule by_protocol = rule("no-tls-there", deny);
    by_protocol.protocols = {Protocol::tls};
    by_protocol.ports = {PortRange::parse("443").value()};
    EXPECT_EQ(Policy({by_protocol}, allow, allow).judge(facts(Protocol::malformed)).rule, "no-tls-there");

    by_protocol.protocols = {Protocol::ssh};
    EXPECT_EQ(Policy({by_protocol}, deny, allow).judge(facts(Protocol::malformed)).rule, "malformed");
}

TEST(Policy, AMalformedHelloHasNoNameToBeJudgedBy) {
    Rule by_name = rule("by-name", deny);
    by_name.server_names = {NamePattern::parse("glob:**").value()};
    Policy policy({by_name}, deny, allow);
    Verdict verdict = policy.judge(facts(Protocol::malformed, "example.com"));
    EXPECT_EQ(verdict.rule, "malformed");
    EXPECT_TRUE(verdict.allowed());
}

}  // namespace
}  // namespace sluice::policy
