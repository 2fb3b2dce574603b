#include "policy/early_verdict.h"

#include <gtest/gtest.h>

#include "policy/policy_file.h"
#include "tests/unit/flow_facts.h"

namespace sluice::policy {
namespace {

Policy policy(const std::string& text) {
    return read_policy(YamlReader::parse("p.yaml", text));
}

// "allow", "deny", or "open".
std::string early(const std::string& text, std::string_view asked_name, bool has_destination = true) {
    const Policy asked = policy(text);
    Facts facts = flow_facts(Protocol::unknown, asked_name);
    facts.asked_name = asked_name;
    const auto verdict = early_verdict(asked, facts, has_destination);
    return verdict ? std::string(to_string(verdict->outcome.action)) : "open";
}

TEST(EarlyVerdict, IsCertainWhenTheProtocolMakesNoDifference) {
    const std::string names =
        "{default: deny, rules: [{name: a, server_name: 'suffix:good.example', action: allow}]}";
    EXPECT_EQ(early(names, "www.good.example"), "allow");
    EXPECT_EQ(early(names, "evil.example"), "deny");
    EXPECT_EQ(early("{default: allow}", ""), "allow");
    EXPECT_EQ(early("{default: deny}", ""), "deny");
}

TEST(EarlyVerdict, IsOpenWhereWhatTheClientSaysDecides) {
    EXPECT_EQ(early("{default: deny, rules: [{name: a, protocol: ssh, action: allow}]}", "a.example"),
              "open");
    EXPECT_EQ(early("{default: deny, rules: [{name: a, alpn: h2, action: allow}]}", "a.example"), "open");
    EXPECT_EQ(early("{default: allow, rules: [{name: a, not: {ja4: 't13*'}, action: deny}]}", "a.example"),
              "open");
    EXPECT_EQ(early("{default: allow, rules: [{name: a, ech: outer, action: deny}]}", "a.example"), "open");
    EXPECT_EQ(early("{default: allow, rules: [{name: a, ssh_version: '1*', action: deny}]}", "a.example"),
              "open");
}

TEST(EarlyVerdict, WithoutANameRulesOnNamesAreOpen) {
    const std::string names =
        "{default: deny, rules: [{name: a, server_name: 'suffix:good.example', action: allow}]}";
    EXPECT_EQ(early(names, ""), "open");
}

TEST(EarlyVerdict, WithoutADestinationRulesOnThatAreOpen) {
    const std::string by_address =
        "{default: deny, rules: [{name: a, destination: 192.0.2.0/24, action: allow}]}";
    EXPECT_EQ(early(by_address, "a.example"), "allow");
    EXPECT_EQ(early(by_address, "a.example", false), "open");
    EXPECT_EQ(early("{default: deny, rules: [{name: a, port: 22, action: allow}]}", "a.example", false),
              "deny");
}

TEST(AskedName, AFlowWithTwoNamesIsDeniedWhenEitherIs) {
    const Policy asked =
        policy("{default: allow, rules: [{name: bad, server_name: 'suffix:bad.example', action: deny}]}");
    const auto decide = [&](std::string_view said, std::string_view asked_name) {
        Facts facts = flow_facts(Protocol::tls, said);
        facts.asked_name = asked_name;
        return std::string(asked.judge(facts).rule);
    };
    EXPECT_EQ(decide("good.example", "good.example"), "default");
    EXPECT_EQ(decide("good.example", "other.example"), "default");
    EXPECT_EQ(decide("bad.example", "good.example"), "bad");
    EXPECT_EQ(decide("good.example", "bad.example"), "bad");
    EXPECT_EQ(decide("", "bad.example"), "bad");
    EXPECT_EQ(decide("bad.example", ""), "bad");
}

}  // namespace
}  // namespace sluice::policy
