// A silent client's flow is judged before its server has spoken.
#include "policy/prospect.h"

#include <gtest/gtest.h>

#include "policy/policy_file.h"
#include "tests/unit/flow_facts.h"

namespace sluice::policy {
namespace {

Policy policy_of(const std::string& rules, const std::string& fallback = "deny") {
    return read_policy(YamlReader::parse("p.yaml", "default: " + fallback + "\nrules:\n" + rules));
}

Facts silent_facts() {
    Facts facts = flow_facts(Protocol::server_first);
    facts.client_was_silent = true;
    facts.to_come = ToCome::greeting;
    return facts;
}

Facts greeted_facts(Protocol protocol) {
    Facts facts = silent_facts();
    facts.protocol = protocol;
    facts.to_come = ToCome::nothing;
    return facts;
}

std::string words(const Prospect& prospect) {
    return std::string(prospect.may_allow ? "allow " : "") + (prospect.may_deny ? "deny" : "");
}

std::string prospect_of(const std::string& rules, const std::string& fallback = "deny") {
    return words(prospect(policy_of(rules, fallback), silent_facts()));
}

TEST(Prospect, AFlowIsNotDeniedBeforeItsGreetingIfThatMayAllowIt) {
    EXPECT_EQ(prospect_of("- {name: a, protocol: [ssh, tls], action: allow}\n"), "allow deny");
    EXPECT_EQ(
        prospect_of("- {name: a, port: 22, action: deny}\n- {name: b, protocol: mysql, action: allow}\n"),
        "allow deny");
    EXPECT_EQ(prospect_of("- {name: a, ssh_server_version: '2.0-*', action: allow}\n"), "allow deny");
}

TEST(Prospect, NoGreetingCanHelpWhatIsDeniedByAddressOrNeedsAName) {
    EXPECT_EQ(
        prospect_of("- {name: a, port: 443, action: deny}\n- {name: b, protocol: ssh, action: allow}\n"),
        "deny");
    EXPECT_EQ(prospect_of("- {name: a, server_name: 'suffix:example.com', action: allow}\n"), "deny");
    EXPECT_EQ(prospect_of("- {name: a, protocol: [tls, http, other], action: allow}\n"), "deny");
    EXPECT_EQ(prospect_of("- {name: a, protocol: server-first, action: deny}\n", "allow"), "deny");
}

TEST(Prospect, WhatHoldsWhateverTheGreetingIsIsCertain) {
    EXPECT_EQ(prospect_of("- {name: a, protocol: server-first, action: allow}\n"), "allow ");
    EXPECT_EQ(prospect_of("- {name: a, protocol: [tls, http], action: deny}\n", "allow"), "allow ");
    EXPECT_EQ(prospect_of("- {name: a, protocol: telnet, action: deny}\n", "allow"), "allow deny");
}

TEST(Prospect, AnyOfAndNotAreAsOpenAsWhatIsWithin) {
    EXPECT_EQ(prospect_of("- {name: a, not: {protocol: telnet}, action: allow}\n"), "allow deny");
    EXPECT_EQ(prospect_of("- {name: a, not: {protocol: tls}, action: allow}\n"), "allow ");
    EXPECT_EQ(prospect_of("- {name: a, not: {protocol: server-first}, action: allow}\n"), "deny");
    EXPECT_EQ(prospect_of("- {name: a, any_of: [{port: 25}, {protocol: smtp}], action: allow}\n"),
              "allow deny");
}

TEST(Prospect, ARuleForServerFirstHoldsForEveryGreeting) {
    const Policy policy = policy_of("- {name: silent, protocol: server-first, action: allow}\n");
    for (const Protocol protocol : greeting_protocols) {
        EXPECT_EQ(policy.judge(greeted_facts(protocol)).rule, "silent");
        EXPECT_EQ(policy.judge(flow_facts(protocol)).rule, "default") << "the client spoke first";
    }
}

TEST(Prospect, AGreetingIsJudgedByItsOwnWordWhereAnEarlierRuleHasIt) {
    const Policy policy = policy_of(
        "- {name: no mail, protocol: smtp, action: deny}\n"
        "- {name: silent, protocol: server-first, action: allow}\n");
    EXPECT_EQ(policy.judge(greeted_facts(Protocol::smtp)).rule, "no mail");
    EXPECT_EQ(policy.judge(greeted_facts(Protocol::ftp)).rule, "silent");
    EXPECT_TRUE(judge_so_far(policy, silent_facts()).verdict.allowed());
    EXPECT_FALSE(judge_so_far(policy, silent_facts()).is_final);
}

TEST(Prospect, ForNowAFlowGoesOnInTheNameOfTheRuleThatMayAllowIt) {
    const Policy policy = policy_of(
        "- {name: no mail, protocol: smtp, action: deny}\n"
        "- {name: shell, protocol: ssh, action: allow}\n");
    const SoFar so_far = judge_so_far(policy, silent_facts());
    EXPECT_TRUE(so_far.verdict.allowed());
    EXPECT_EQ(so_far.verdict.rule, "shell");
    EXPECT_FALSE(so_far.is_final);
    EXPECT_FALSE(policy.judge(greeted_facts(Protocol::smtp)).allowed());
    EXPECT_FALSE(policy.judge(greeted_facts(Protocol::server_first)).allowed()) << "an unknown greeting";
}

TEST(Prospect, ANameThatComesAfterTheBeginningKeepsAFlowAliveOnlyWhereTheProtocolIsSaid) {
    const std::string by_protocol =
        "- {name: a, protocol: smtp, server_name: 'suffix:example.com', action: allow}\n";
    const std::string any = "- {name: a, server_name: 'suffix:example.com', action: allow}\n";
    EXPECT_EQ(prospect_of(by_protocol), "allow deny");
    EXPECT_EQ(prospect_of(any), "deny") << "no reason to reach for a server";
    EXPECT_EQ(prospect_of("- {name: n, server_name: none, action: deny}\n" + by_protocol), "allow deny");
    Facts mail = greeted_facts(Protocol::smtp);
    mail.to_come = ToCome::hello;
    EXPECT_EQ(words(prospect(policy_of(by_protocol), mail)), "allow deny");
    EXPECT_EQ(words(prospect(policy_of(any), mail)), "allow deny") << "it is there already";
    const std::string bad = "- {name: bad, server_name: 'suffix:bad.example', action: deny}\n";
    EXPECT_EQ(words(prospect(policy_of(bad, "allow"), mail)), "allow deny");
    EXPECT_EQ(words(prospect(policy_of("- {name: a, protocol: smtp, action: allow}\n" + bad), mail)),
              "allow ");
}

TEST(Prospect, WhatHasStartedTlsIsJudgedByItsHello) {
    const Policy policy = policy_of(
        "- {name: a, protocol: smtp, server_name: 'exact:mx.example', ech: none, action: allow}\n"
        "- {name: b, server_name: none, action: deny}\n"
        "- {name: c, protocol: smtp, ja4: 't13*', action: allow}\n");
    Facts mail = greeted_facts(Protocol::smtp);
    EXPECT_EQ(policy.judge(mail).rule, "b") << "in the clear";
    mail.has_started_tls = true;
    mail.server_name = "mx.example";
    EXPECT_EQ(policy.judge(mail).rule, "a");
    mail.server_name = "other.example";
    EXPECT_EQ(policy.judge(mail).rule, "default");
    mail.ja4 = "t13d";
    EXPECT_EQ(policy.judge(mail).rule, "c");
}

// Whatever is allowed in the end was not denied before, and what was certain stays so.
TEST(Prospect, AgreesWithTheVerdictOfEveryGreeting) {
    const std::vector<std::string> conditions = {"protocol: [ssh, smtp]",
                                                 "protocol: server-first",
                                                 "not: {protocol: [ftp, telnet]}",
                                                 "ssh_server_version: '2.0-*'",
                                                 "not: {ssh_server_version: '*x'}",
                                                 "port: 443",
                                                 "port: 22",
                                                 "any_of: [{protocol: mysql}, {port: 23}]",
                                                 "server_name: none"};
    unsigned seed = 1;
    const auto next = [&](std::size_t count) {
        seed = seed * 1103515245 + 12345;
        return (seed >> 16) % count;
    };
    for (int round = 0; round < 400; ++round) {
        std::string rules;
        for (std::size_t i = 0, count = 1 + next(4); i < count; ++i) {
            rules += "- {name: r" + std::to_string(i) + ", " + conditions[next(conditions.size())] +
                     ", action: " + (next(2) == 0 ? "allow" : "deny") + "}\n";
        }
        const Policy policy = policy_of(rules, next(2) == 0 ? "allow" : "deny");
        const Prospect ahead = prospect(policy, silent_facts());
        std::vector<Protocol> protocols(greeting_protocols.begin(), greeting_protocols.end());
        protocols.push_back(Protocol::server_first);
        for (const Protocol protocol : protocols) {
            for (const char* version : {"", "2.0-a", "2.0-x", "1.99-x"}) {
                Facts facts = greeted_facts(protocol);
                facts.ssh_server_version = version;
                const bool allowed = policy.judge(facts).allowed();
                ASSERT_TRUE(allowed ? ahead.may_allow : ahead.may_deny) << rules << to_string(protocol);
            }
        }
    }
}

}  // namespace
}  // namespace sluice::policy
