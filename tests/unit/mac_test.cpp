// The client's MAC address as a fact: how it is written, what is asked of it, and what nobody knows.
#include <gtest/gtest.h>

#include "policy/early_verdict.h"
#include "policy/explanation.h"
#include "policy/policy_file.h"
#include "policy/prospect.h"
#include "policy/rule_text.h"
#include "tests/unit/flow_facts.h"

namespace sluice::policy {
namespace {

std::string written(std::string_view text) {
    const auto prefix = MacPrefix::parse(text);
    return prefix ? prefix->to_string() : "no";
}

MacAddress mac(std::string_view text) {
    return MacAddress::parse(text).value();
}

TEST(MacAddress, IsWrittenWithColonsOrDashesAndReadBackInLowerCase) {
    EXPECT_EQ(mac("02:00:5E:10:0a:ff").to_string(), "02:00:5e:10:0a:ff");
    EXPECT_EQ(mac("02-00-5e-10-0A-FF").to_string(), "02:00:5e:10:0a:ff");
    EXPECT_EQ(mac("02:00:5e:10:0a:ff").number(), 0x02005e100affu);
    for (const char* broken : {"", "02:00:5e:10:0a", "02:00:5e:10:0a:ff:", "02:00:5e:10:0a:f",
                               "2:0:5e:10:a:ff", "02:00:5e-10-0a-ff", "02005e100aff", "02:00:5e:10:0a:fg",
                               "02:00:5e:10:0a:ff:01", "02:00:5e:10:0a:+f", "0200.5e10.0aff", "02:00:5e"})
        EXPECT_FALSE(MacAddress::parse(broken)) << broken;
}

TEST(MacAddress, ABlockIsAMakersThreeBytesOrAsManyBitsAsAreSaid) {
    EXPECT_EQ(written("00:00:5e"), "00:00:5e:00:00:00/24");
    EXPECT_EQ(written("00-00-5E-90-00-00/28"), "00:00:5e:90:00:00/28");
    EXPECT_EQ(written("00:00:5e:10:00:01"), "00:00:5e:10:00:01");
    EXPECT_EQ(written("00:00:5e:10:00:01/48"), "00:00:5e:10:00:01");
    EXPECT_EQ(written("00:00:00:00:00:00/0"), "00:00:00:00:00:00/0");
    for (const char* broken : {"", "/24", "00", "00:00", "00:00:5e:90", "00:00:5e/24", "00:00:5e:98:00:00/28",
                               "00:00:5e:90:00:00/", "00:00:5e:90:00:00/028", "00:00:5e:90:00:00/49",
                               "00:00:5e:90:00:00/-1", "00:00:5e:90:00:00/28/28"})
        EXPECT_EQ(written(broken), "no") << broken;
}

TEST(MacAddress, ASetHoldsWhatAnyOfItsBlocksHolds) {
    const MacSet set({*MacPrefix::parse("02:00:5e:10:00:01"), *MacPrefix::parse("02:00:5e:20:00:00/28"),
                      *MacPrefix::parse("02:00:5e:20:00:07"), *MacPrefix::parse("00:00:5e"),
                      *MacPrefix::parse("ff:ff:ff:ff:ff:ff")});
    for (const char* inside :
         {"02:00:5e:10:00:01", "02:00:5e:20:00:00", "02:00:5e:2f:ff:ff", "02:00:5e:20:00:08",
          "00:00:5e:00:00:00", "00:00:5e:ff:ff:ff", "ff:ff:ff:ff:ff:ff"})
        EXPECT_TRUE(set.contains(mac(inside))) << inside;
    for (const char* outside :
         {"02:00:5e:10:00:00", "02:00:5e:10:00:02", "02:00:5e:1f:ff:ff", "02:00:5e:30:00:00",
          "00:00:5d:ff:ff:ff", "00:00:5f:00:00:00", "ff:ff:ff:ff:ff:fe"})
        EXPECT_FALSE(set.contains(mac(outside))) << outside;
    EXPECT_EQ(set.find(mac("02:00:5e:20:00:07"))->to_string(), "02:00:5e:20:00:00/28");
}

Policy policy_of(const std::string& rules, const std::string& fallback = "deny") {
    return read_policy(YamlReader::parse("p.yaml",
                                         "sets: {macs: {staff: ['02:00:5e:10:00:01', 00-00-5e]}}\n"
                                         "profiles: [{name: web, rows: [{match: any, action: allow}]}]\n"
                                         "default: " +
                                             fallback + "\nrules:\n" + rules));
}

Facts from(std::string_view client, Protocol protocol = Protocol::tls) {
    Facts facts = flow_facts(protocol);
    if (!client.empty()) facts.mac = mac(client);
    return facts;
}

constexpr std::string_view one = "02:00:5e:10:00:01";
constexpr std::string_view other = "02:00:5e:10:00:02";
constexpr std::string_view unknown{};

std::string rule_for(const Policy& policy, std::string_view client) {
    return std::string(policy.judge(from(client)).rule);
}

TEST(MacRules, DecideByAddressBlockOrSet) {
    const Policy policy = policy_of(
        "- {name: a, mac: 02-00-5E-10-00-02, action: allow}\n"
        "- {name: b, mac: [set:staff, '02:00:5e:10:00:00/44'], action: allow}\n");
    EXPECT_EQ(rule_for(policy, other), "a");
    EXPECT_EQ(rule_for(policy, one), "b");
    EXPECT_EQ(rule_for(policy, "00:00:5e:01:02:03"), "b");
    EXPECT_EQ(rule_for(policy, "02:00:5e:10:00:0f"), "b");
    EXPECT_EQ(rule_for(policy, "02:00:5e:11:00:00"), "default");
    EXPECT_EQ(rule_for(policy, unknown), "default");
    EXPECT_TRUE(policy.asks_for(Condition::mac));
    EXPECT_FALSE(policy_of("- {name: a, source: 10.0.0.1, action: deny}\n").asks_for(Condition::mac));
}

TEST(MacRules, LetNobodyInWhoseAddressIsUnknownAndDenyHimAllTheSame) {
    const Policy allows = policy_of("- {name: a, not: {mac: '02:00:5e:10:00:01'}, action: allow}\n");
    EXPECT_EQ(rule_for(allows, one), "default");
    EXPECT_EQ(rule_for(allows, other), "a");
    EXPECT_EQ(rule_for(allows, unknown), "default");
    const Policy denies = policy_of("- {name: a, not: {mac: set:staff}, action: deny}\n", "allow");
    EXPECT_EQ(rule_for(denies, one), "default");
    EXPECT_EQ(rule_for(denies, other), "a");
    EXPECT_EQ(rule_for(denies, unknown), "a");
    const Policy within = policy_of(
        "- {name: a, any_of: [{port: 80}, {not: {any_of: [{mac: set:staff}, {port: 22}]}}], action: "
        "allow}\n");
    EXPECT_EQ(rule_for(within, other), "a");
    EXPECT_EQ(rule_for(within, unknown), "default");
    const Policy handed = policy_of("- {name: a, not: {mac: set:staff}, use: web}\n");
    EXPECT_EQ(rule_for(handed, other), "web/any");
    EXPECT_EQ(rule_for(handed, unknown), "default");
}

TEST(MacRules, AnUnknownAddressIsNoMatterToTheOtherRules) {
    const Policy policy = policy_of(
        "- {name: a, mac: '02:00:5e:10:00:01', action: deny}\n"
        "- {name: b, any_of: [{mac: set:staff}, {source: 10.1.2.3}], action: allow}\n");
    EXPECT_EQ(rule_for(policy, one), "a");
    EXPECT_EQ(rule_for(policy, unknown), "b");
}

// A server is not dialled for a client that no greeting can help.
TEST(MacRules, NothingThatIsStillToComeTellsTheAddress) {
    const Policy policy = policy_of("- {name: a, protocol: ssh, not: {mac: set:staff}, action: allow}\n");
    Facts silent = from(other, Protocol::server_first);
    silent.client_was_silent = true;
    silent.to_come = ToCome::greeting;
    EXPECT_TRUE(prospect(policy, silent).may_allow);
    silent.mac.reset();
    EXPECT_FALSE(prospect(policy, silent).may_allow);
    const Policy by_address = policy_of("- {name: a, protocol: ssh, mac: set:staff, action: allow}\n");
    EXPECT_FALSE(prospect(by_address, silent).may_allow);
    silent.mac = mac(one);
    EXPECT_TRUE(prospect(by_address, silent).may_allow);
}

TEST(MacRules, TheAddressIsKnownWhenAClientHasOnlyNamedItsDestination) {
    const Policy policy = policy_of("- {name: a, mac: set:staff, action: allow}\n");
    EXPECT_TRUE(early_verdict(policy, from(one), true)->allowed());
    EXPECT_FALSE(early_verdict(policy, from(other), true)->allowed());
    EXPECT_FALSE(early_verdict(policy, from(unknown), true)->allowed());
}

TEST(MacRules, AreExplainedWithTheEntryThatHeldAndWhatIsUnknown) {
    const Policy policy = policy_of(
        "- {name: a, mac: '02:00:5e:10:00:02', action: deny}\n"
        "- {name: b, not: {mac: '02:00:5e:10:00:02'}, port: 443, action: allow}\n"
        "- {name: c, mac: set:staff, action: allow}\n");
    EXPECT_EQ(explain(policy, from(other)).because,
              std::vector<std::string>{"mac 02:00:5e:10:00:02 matches 02:00:5e:10:00:02"});
    EXPECT_EQ(
        explain(policy, from(unknown)).passed_over,
        (std::vector<std::string>{
            "a (line 5): mac (unknown) does not match",
            "b (line 6): a rule that allows and has mac under not is not asked: the client's is unknown",
            "c (line 7): mac (unknown) does not match"}));
    EXPECT_EQ(to_text(policy.rules()[2]), "mac 02:00:5e:10:00:01, 00:00:5e:00:00:00/24 -> allow");
}

TEST(MacRules, MistakesSayWhatWasExpected) {
    const auto error = [](const std::string& rules) -> std::string {
        try {
            policy_of(rules);
            return "accepted";
        } catch (const FileError& error) {
            return error.what();
        }
    };
    EXPECT_EQ(error("- {name: a, action: deny, mac: 0200.5e10.0001}\n"),
              "p.yaml:5:32: error: expected a MAC address, or the first bits of one, such as "
              "02:00:5e:10:00:01, 00:00:5e or 00:00:5e:90:00:00/28, found \"0200.5e10.0001\"");
    EXPECT_EQ(error("- {name: a, action: deny, mac: set:stuff}\n"),
              "p.yaml:5:32: error: expected a set that sets: has under macs:, found \"stuff\" (did you mean "
              "staff?)");
    EXPECT_EQ(error("- {name: a, action: deny, mac: [00:00:5e, 02:00:5e:10:00:01]}\n"), "accepted");
}

}  // namespace
}  // namespace sluice::policy
