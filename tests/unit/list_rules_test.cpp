// Lists and categories wherever a condition may stand: in rows, under any_of and not, beside other
// conditions.
#include <gtest/gtest.h>

#include "policy/explanation.h"
#include "policy/lint.h"
#include "policy/policy_file.h"
#include "policy/rule_text.h"
#include "tests/support/lists.h"

namespace sluice::policy {
namespace {

constexpr const char* text = R"(
default: deny
lists:
  - {name: ads, file: ads, format: domains, category: advertising}
  - {name: games, file: games, format: domains, category: games}
  - {name: plain, file: plain, format: domains}
profiles:
  - name: trial
    enforce: false
    rows: [{category: games, action: deny}]
  - name: base
    rows:
      - {name: either, any_of: [{port: 80, list: games}, {category: [advertising]}], action: deny}
      - {name: odd, category: [uncategorized, games], port: 8443, action: deny, log: false}
      - {name: listed, not: {category: uncategorized}, server_name: 'suffix:example', action: allow}
      - {match: uncategorized, source: 10.9.0.0/16, action: allow}
rules:
  - {name: watch, use: trial}
  - {name: only-plain, list: plain, use: base}
  - {name: all, port: [80, 443, 8443], use: base}
  - {name: at-last, not: {list: [ads, games, plain]}, protocol: tls, action: deny, style: alert}
)";

class ListRules : public testing::Test {
  protected:
    static Facts flow(std::string_view server_name, std::uint16_t port = 443) {
        Facts facts;
        facts.source = Endpoint::parse("10.1.0.1:1").value();
        facts.destination = Endpoint::parse("192.0.2.1:1").value();
        facts.destination.port = port;
        facts.protocol = Protocol::tls;
        facts.server_name = server_name;
        return facts;
    }
    std::string judge(const Facts& facts) const {
        const Verdict verdict = policy_.judge(facts);
        return std::string(verdict.rule) + " " + std::string(verdict.list) + "/" +
               std::string(verdict.category);
    }

    const Policy bare_ = read_policy(YamlReader::parse("p.yaml", text));
    const Policy policy_ =
        bare_.with_lists(test::make_lists({{"ads", "advertising", {"ads.example", "both.example"}},
                                           {"games", "games", {"play.example", "both.example"}},
                                           {"plain", "", {"plain.example"}}}));
};

TEST_F(ListRules, ARowUnderAnyOfNamesTheListThatMadeItHold) {
    EXPECT_EQ(judge(flow("www.ads.example")), "base/either ads/advertising");
    EXPECT_EQ(judge(flow("play.example", 80)), "base/either games/games");
    EXPECT_EQ(judge(flow("both.example", 80)), "base/either games/games")
        << "the first alternative that holds";
    EXPECT_EQ(judge(flow("both.example", 443)), "base/either ads/advertising");
}

TEST_F(ListRules, UncategorizedStandsAmongCategoriesAndUnderNot) {
    EXPECT_EQ(judge(flow("other.example", 8443)), "base/odd /uncategorized");
    EXPECT_EQ(judge(flow("play.example", 8443)), "base/odd games/games");
    EXPECT_EQ(judge(flow("play.example")), "base/listed /");
    EXPECT_EQ(judge(flow("other.example")), "at-last /");
    Facts facts = flow("other.example");
    facts.source = Endpoint::parse("10.9.0.1:1").value();
    EXPECT_EQ(judge(facts), "base/uncategorized /uncategorized");
}

TEST_F(ListRules, TheListOfTheRuleThatUsesAProfileIsNamedToo) {
    EXPECT_EQ(judge(flow("a.plain.example", 9)), "base/listed plain/");
}

TEST_F(ListRules, AProfileThatIsNotEnforcedSeesListsToo) {
    EXPECT_EQ(policy_.judge(flow("play.example")).would_deny, "trial/1");
    EXPECT_EQ(policy_.judge(flow("plain.example")).would_deny, "");
}

TEST_F(ListRules, AMalformedHelloIsInNoListWhateverItsName) {
    Facts facts = flow("www.ads.example");
    facts.protocol = Protocol::malformed;
    facts.began_as = Protocol::tls;
    EXPECT_EQ(judge(facts), "at-last /");
}

TEST_F(ListRules, UntilTheyAreReadNoListKnowsAnyName) {
    EXPECT_EQ(bare_.lists(), nullptr);
    EXPECT_EQ(bare_.judge(flow("www.ads.example")).rule, "at-last");
}

TEST_F(ListRules, AnotherSetOfListsIsAnotherPolicyAndTheFirstStaysAsItWas) {
    const Policy later = policy_.with_lists(test::make_lists(
        {{"games", "games", {}}, {"ads", "advertising", {"new.example"}}, {"plain", "", {}}}));
    EXPECT_EQ(later.judge(flow("new.example")).rule, "base/either");
    EXPECT_EQ(later.judge(flow("new.example")).list, "ads");
    EXPECT_EQ(later.judge(flow("www.ads.example")).rule, "at-last");
    EXPECT_EQ(judge(flow("www.ads.example")), "base/either ads/advertising");
}

TEST_F(ListRules, ACategoryWithinAConditionMustExistToo) {
    try {
        policy_.with_lists(test::make_lists({{"ads", "advertising", {}}, {"plain", "", {}}}));
        FAIL() << "accepted";
    } catch (const FileError& error) {
        EXPECT_STREQ(
            error.what(),
            "p.yaml:10:23: error: expected a category of some list, or uncategorized, found \"games\"");
    }
}

TEST_F(ListRules, ExplainSaysWhichEntryOfWhichList) {
    Explanation explanation = explain(policy_, flow("a.plain.example", 9));
    EXPECT_EQ(explanation.because,
              (std::vector<std::string>{"server_name a.plain.example is in list plain, as plain.example",
                                        "server_name a.plain.example matches suffix:example",
                                        "nothing under not holds"}));
    explanation = explain(policy_, flow("play.example", 8443));
    EXPECT_EQ(explanation.because,
              (std::vector<std::string>{
                  "port 8443 matches 8443",
                  "port 8443 matches 8443",
                  "server_name play.example is in list games, category games, as play.example",
              }));
    EXPECT_EQ(explanation.passed_over.at(1),
              "only-plain (line 19): server_name play.example is not in its lists");
    explanation = explain(policy_, flow("other.example", 8443));
    EXPECT_EQ(explanation.because.at(2), "server_name other.example is in no list: uncategorized");
    EXPECT_EQ(explanation.passed_over.at(0),
              "trial/1 (line 10): server_name other.example is not in its categories");
}

TEST_F(ListRules, ATextOfARuleHasItsLists) {
    EXPECT_EQ(to_text(policy_.profiles()[1].rows[1]),
              "port 8443; category uncategorized, games -> deny (reset), no log");
    EXPECT_EQ(to_text(policy_.rules()[1]), "list plain -> use base");
}

TEST(ListRulesLint, AListInARuleForProtocolsWithoutNamesNeverMatches) {
    const Policy policy = read_policy(YamlReader::parse(
        "p.yaml",
        "default: deny\nlists: [{name: a, file: a, format: domains}]\n"
        "rules:\n- {name: r, list: a, protocol: ssh, action: deny}\n"
        "- {name: any, action: allow}\n- {name: late, match: uncategorized, action: deny}\n"));
    const std::vector<Warning> warnings = lint(policy);
    ASSERT_EQ(warnings.size(), 2u);
    EXPECT_EQ(warnings[0].message,
              "rule \"r\" never matches: its protocol: leaves out all that carry a server name (TLS, HTTP, "
              "and what "
              "may turn to TLS)");
    EXPECT_TRUE(warnings[1].message.starts_with("rule \"late\" is never asked")) << warnings[1].message;
}

TEST(ListRulesLint, WithoutListsEveryNameIsUncategorized) {
    const std::vector<Warning> warnings = lint(read_policy(YamlReader::parse(
        "p.yaml", "default: allow\nrules:\n- {name: r, not: {match: uncategorized}, action: deny}\n")));
    ASSERT_EQ(warnings.size(), 1u);
    EXPECT_EQ(warnings[0].message,
              "rule \"r\" has match: uncategorized, which holds for every name: there are no lists:");
}

}  // namespace
}  // namespace sluice::policy
