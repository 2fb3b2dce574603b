#include "policy/policy_file.h"

#include <gtest/gtest.h>

namespace sluice::policy {
namespace {

Policy read(const std::string& text) {
    return read_policy(YamlReader::parse("p.yaml", text));
}

std::string error(const std::string& text) {
    try {
        read(text);
        return "accepted";
    } catch (const FileError& error) {
        return error.what();
    }
}

TEST(PolicyFile, EveryKeyIsUnderstood) {
    Policy policy = read(R"(
default: {action: deny, style: drop, log: false}
malformed: {action: deny, style: close}
rules:
  - name: ads
    server_name: ["suffix:doubleclick.net", 're:ads[0-9]+\.example\.com']
    source: [10.0.0.0/8, 2001:db8::/32]
    destination: 192.0.2.0/24
    port: [443, 8000-8100]
    protocol: [tls, http, ssh, server-first, other]
    action: deny
    style: alert
    log: false
  - {name: rest, action: allow}
)");
    EXPECT_EQ(policy.fallback().style, DenyStyle::drop);
    EXPECT_FALSE(policy.fallback().log);
    EXPECT_EQ(policy.malformed().style, DenyStyle::close);
    ASSERT_EQ(policy.rules().size(), 2u);
    const Rule& ads = policy.rules()[0];
    EXPECT_EQ(ads.name, "ads");
    EXPECT_EQ(ads.line, 5);
    EXPECT_EQ(ads.column, 5);
    EXPECT_EQ(ads.when.server_names.at(0)->patterns().size(), 2u);
    EXPECT_EQ(ads.when.sources.at(0)->prefixes().size(), 2u);
    EXPECT_EQ(ads.when.destinations.at(0)->prefixes().size(), 1u);
    EXPECT_EQ(ads.when.ports[1].to_string(), "8000-8100");
    EXPECT_EQ(ads.when.protocols.size(), 5u);
    EXPECT_EQ(ads.when.protocols[3], Protocol::server_first);
    EXPECT_EQ(ads.outcome.style, DenyStyle::alert);
    EXPECT_FALSE(ads.outcome.log);
    EXPECT_EQ(policy.rules()[1].outcome.action, Action::allow);
    EXPECT_TRUE(policy.rules()[1].outcome.log);
}

TEST(PolicyFile, MalformedIsDeniedWhenTheFileIsSilent) {
    Policy policy = read("default: allow\n");
    EXPECT_EQ(policy.fallback().action, Action::allow);
    EXPECT_EQ(policy.malformed().action, Action::deny);
    EXPECT_EQ(policy.malformed().style, DenyStyle::reset);
    EXPECT_TRUE(policy.malformed().log);
}

TEST(PolicyFile, AliasesAndMergeKeysAreUnderstood) {
    Policy policy = read(R"(
default: deny
rules:
  - &base
    name: one
    source: &internal [10.0.0.0/8]
    action: deny
    style: drop
  - <<: *base
    name: two
    destination: *internal
)");
    EXPECT_EQ(policy.rules()[1].name, "two");
    EXPECT_EQ(policy.rules()[1].outcome.style, DenyStyle::drop);
    EXPECT_EQ(policy.rules()[1].when.sources.at(0)->prefixes()[0].to_string(), "10.0.0.0/8");
    EXPECT_EQ(policy.rules()[1].when.destinations.at(0)->prefixes()[0].to_string(), "10.0.0.0/8");
}

struct Mistake {
    const char* text;
    const char* error;
};

class PolicyMistake : public testing::TestWithParam<Mistake> {};

TEST_P(PolicyMistake, IsOneLineWithPlaceAndExpectation) {
    EXPECT_EQ(error(GetParam().text), std::string("p.yaml:") + GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Structure, PolicyMistake,
    testing::Values(
        Mistake{"", "1:1: error: expected a mapping, found an empty file"},
        Mistake{"# nothing\n", "1:1: error: expected a mapping, found an empty file"},
        Mistake{"deny\n", "1:1: error: expected a policy (a mapping with default:), found \"deny\""},
        Mistake{"rules: []\n",
                "1:1: error: expected default: in a policy (a mapping with default:), found none"},
        Mistake{"default:\n", "1:1: error: expected allow or deny, found nothing"},
        Mistake{"default: Deny\n", "1:10: error: expected allow or deny, found \"Deny\""},
        Mistake{"default: [deny]\n", "1:10: error: expected allow or deny, found a list"},
        Mistake{"default: {style: drop}\n", "1:10: error: expected action: in an action, found none"},
        Mistake{"default: {action: deny, name: x}\n",
                "1:25: error: expected action, style, log or verify, found \"name\""},
        Mistake{"default: deny\ndefault: allow\n",
                "2:1: error: expected each key once, found \"default\" again"},
        Mistake{"default: deny\nrule: []\n",
                "2:1: error: expected default, malformed, verify, on_reload, lists, prepared_lists, sets, "
                "profiles, "
                "groups or "
                "rules, found \"rule\" "
                "(did you mean rules?)"},
        Mistake{"default: deny\n[a]: b\n", "2:1: error: expected a key, found a list"},
        Mistake{"default: deny\nrules: none\n", "2:8: error: expected a list of rules, found \"none\""},
        Mistake{"default: deny\nrules:\n", "2:1: error: expected a list of rules, found nothing"},
        Mistake{"default: deny\nrules:\n- deny\n",
                "3:3: error: expected a rule (a mapping with name: and action:), found \"deny\""},
        Mistake{"default: deny\n---\ndefault: allow\n",
                "2:1: error: expected one document, found more after it"},
        Mistake{"default: !secret deny\n", "1:10: error: expected no tag, found \"!secret\""},
        Mistake{"default: deny\nrules:\n\t- name: a\n",
                "3:1: error: expected spaces as indentation, found a tab"},
        Mistake{"default: deny\x04\nrules: [\n", "1:14: error: expected text, found control byte \"\\x04\""},
        Mistake{"default: [deny\n",
                "2:1: error: expected well-formed YAML, found a mistake (end of sequence flow not found)"},
        Mistake{"default: deny\n rules: []\n",
                "2:7: error: expected well-formed YAML, found a mistake (illegal map value)"},
        Mistake{
            "default: *nope\n",
            "1:10: error: expected well-formed YAML, found a mistake (the referenced anchor is not defined)"},
        Mistake{"default: \"re:\\.\"\n",
                "1:16: error: expected well-formed YAML, found a mistake (unknown escape "
                "character: .); put backslashes in single quotes"}));

// Each stands in the rule {name: a, action: deny, KEY}, whose keys begin in column 26.
class RuleMistake : public testing::TestWithParam<Mistake> {};

TEST_P(RuleMistake, IsOneLineWithPlaceAndExpectation) {
    std::string text =
        std::string("default: deny\nrules:\n- {action: deny, name: a, ") + GetParam().text + "}\n";
    EXPECT_EQ(error(text), std::string("p.yaml:3:") + GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Keys, RuleMistake,
    testing::Values(
        Mistake{"server-name: \"exact:a\"",
                "27: error: expected name, server_name, list, category, source, mac, destination, port, "
                "protocol, via, ech, alpn, ja4, ssh_version, ssh_server_version, time, match, any_of, not, "
                "action, "
                "use, style, log or "
                "verify, found "
                "\"server-name\" (did you mean server_name?)"},
        Mistake{"name: b", "27: error: expected each key once, found \"name\" again"},
        Mistake{"log: yes", "32: error: expected true or false, found \"yes\""},
        Mistake{"style: rst", "34: error: expected reset, drop, alert or close, found \"rst\""},
        Mistake{"protocol: quic",
                "37: error: expected tls, http, ssh, smtp, ftp, mysql, imap, pop3, rfb, telnet, "
                "postgresql, server-first or other, found \"quic\""},
        Mistake{"protocol: malformed",
                "37: error: expected tls, http, ssh, smtp, ftp, mysql, imap, pop3, rfb, telnet, "
                "postgresql, server-first or other, found \"malformed\""},
        Mistake{"port: https",
                "33: error: expected a port from 1 to 65535, or a range such as 8000-8100, found \"https\""},
        Mistake{"port: [443, 0]",
                "39: error: expected a port from 1 to 65535, or a range such as 8000-8100, found \"0\""},
        Mistake{"port: [443, [80]]",
                "39: error: expected a port from 1 to 65535, or a range such as 8000-8100, found a list"},
        Mistake{"source: 10.0.0.1/8",
                "35: error: expected an address or a prefix without host bits, such as 10.0.0.0/8 or "
                "2001:db8::1, found "
                "\"10.0.0.1/8\""},
        Mistake{"source: []",
                "35: error: expected an address or a prefix without host bits, such as 10.0.0.0/8 or "
                "2001:db8::1, or a "
                "list of them, found an empty list"},
        Mistake{"source: ~",
                "27: error: expected an address or a prefix without host bits, such as 10.0.0.0/8 or "
                "2001:db8::1, or a "
                "list of them, found nothing"},
        Mistake{"server_name: example.com",
                "40: error: expected exact:, suffix:, glob: or re: before the name, found \"example.com\""},
        Mistake{"server_name: {suffix: example.com}",
                "40: error: expected a pattern such as suffix:example.com, found a mapping (no space may "
                "follow the "
                "colon)"},
        Mistake{"server_name: [suffix: example.com]",
                "41: error: expected a pattern such as suffix:example.com, found a mapping (no space may "
                "follow the "
                "colon)"},
        Mistake{"<<: 1", "31: error: expected a mapping, or a list of them, to merge, found \"1\""},
        Mistake{"<<: {<<: {log: true}}",
                "32: error: expected name, server_name, list, category, source, mac, destination, port, "
                "protocol, via, ech, alpn, ja4, ssh_version, ssh_server_version, time, match, any_of, not, "
                "action, "
                "use, style, log or "
                "verify, found "
                "\"<<\""}));

TEST(PolicyFile, ARuleNeedsANameOfItsOwnAndAnAction) {
    EXPECT_EQ(error("default: deny\nrules:\n  - action: deny\n"),
              "p.yaml:3:5: error: expected name: in a rule (a mapping with name: and action:), found none");
    EXPECT_EQ(error("default: deny\nrules:\n  - name: a\n"),
              "p.yaml:3:5: error: expected action: in a rule (a mapping with name: and action:), found none");
    EXPECT_EQ(
        error("default: deny\nrules:\n- {name: a, action: deny}\n- {name: a, action: allow}\n"),
        "p.yaml:4:3: error: expected a name of its own for each rule, found \"a\" again (first on line 3)");
    EXPECT_EQ(
        error("default: deny\nrules:\n- {name: default, action: deny}\n"),
        "p.yaml:3:10: error: expected another name for a rule (logs use this one for flows that no rule "
        "decides), found \"default\"");
    for (std::string name : {std::string("''"), std::string(64, 'a'), std::string("b\xc3\xbc")}) {
        EXPECT_NE(
            error("default: deny\nrules:\n- {action: deny, name: " + name + "}\n")
                .find("3:24: error: expected a rule's name: 1 to 63 characters of printable ASCII, found"),
            std::string::npos);
    }
    EXPECT_EQ(error("default: deny\nrules:\n- {action: deny, name: " + std::string(63, 'a') + "}\n"),
              "accepted");
}

TEST(PolicyFile, AStyleOfDenialMeansNothingForAnAllowedFlow) {
    EXPECT_EQ(error("default: {action: allow, style: drop}\n"),
              "p.yaml:1:33: error: expected style: only with action: deny, found it with action: allow");
}

TEST(PolicyFile, WhetherNamesAreVerifiedIsSaidOnceForAllAndByEachRuleOrRow) {
    Policy policy = read(R"(
default: {action: allow, verify: log}
malformed: allow
verify: enforce
profiles:
  - name: p
    rows: [{port: 1, action: allow}, {port: 2, action: allow, verify: 'off'}, {port: 3, action: deny}]
rules:
  - {name: a, port: 4, action: allow}
  - {name: b, port: 5, action: allow, verify: pin}
  - {name: c, use: p}
)");
    EXPECT_EQ(policy.fallback().verify, Verify::log);
    EXPECT_EQ(policy.malformed().verify, Verify::off) << "it has no name";
    EXPECT_EQ(policy.rules()[0].outcome.verify, Verify::enforce);
    EXPECT_EQ(policy.rules()[1].outcome.verify, Verify::pin);
    const auto& rows = policy.profiles()[0].rows;
    EXPECT_EQ(rows[0].outcome.verify, Verify::enforce);
    EXPECT_EQ(rows[1].outcome.verify, Verify::off);
    EXPECT_EQ(rows[2].outcome.verify, Verify::off) << "a deny needs no evidence";
    EXPECT_EQ(read("default: allow\n").fallback().verify, Verify::off);
    EXPECT_EQ(error("default: {action: deny, verify: pin}\n"),
              "p.yaml:1:33: error: expected verify: only with action: allow, found it with action: deny");
    EXPECT_EQ(error("default: allow\nverify: maybe\n"),
              "p.yaml:2:9: error: expected off, log, pin or enforce, found \"maybe\"");
}

TEST(PolicyFile, ATabAfterTheColonIsNoIndentation) {
    EXPECT_EQ(error("default:\tdeny\n"), "accepted");
}

TEST(PolicyFile, HostileNestingIsAnErrorAndNoCrash) {
    EXPECT_NE(error("default: " + std::string(100'000, '[')), "accepted");
    std::string nested;
    for (int i = 0; i < 2000; ++i)
        nested += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
    EXPECT_NE(error(nested), "accepted");
}

TEST(PolicyFile, AStrayCommaIsAnErrorAndNoEndlessRowOfDocuments) {
    EXPECT_EQ(error(","), "p.yaml:1:1: error: expected one document, found more after it");
    EXPECT_EQ(error("default: deny\n,\n"),
              "p.yaml:2:1: error: expected well-formed YAML, found a mistake (end of map not found)");
}

TEST(PolicyFile, AnAliasToItselfIsAnErrorAndNoLoop) {
    EXPECT_NE(error("default: deny\nrules: &r [*r]\n"), "accepted");
    EXPECT_NE(error("&a default: deny\nmalformed: &m {<<: *m}\n"), "accepted");
}

}  // namespace
}  // namespace sluice::policy
