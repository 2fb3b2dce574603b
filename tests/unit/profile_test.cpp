// Profiles, groups and rows, as an operator writes them, and what becomes of flows.
#include <gtest/gtest.h>

#include "policy/explanation.h"
#include "policy/lint.h"
#include "policy/policy_file.h"
#include "tests/support/lists.h"

namespace sluice::policy {
namespace {

constexpr const char* text = R"(
default: deny
profiles:
  - name: base
    rows:
      - {server_name: 'suffix:updates.example', action: allow, log: false}
      - {name: ads, server_name: 'suffix:ads.example', action: deny, style: alert}
  - name: strict
    rows:
      - {server_name: 'suffix:good.example', action: allow}
      - {match: uncategorized, action: deny, style: close}
      - {match: any, action: deny, log: false}
  - name: trial
    enforce: false
    rows:
      - {name: no-media, server_name: 'suffix:media.example', action: deny}
      - {name: fine, server_name: 'suffix:fine.example', action: allow}
groups:
  - {name: staff, profiles: [base, strict]}
rules:
  - {name: monitored, use: trial}
  - {name: lab, source: 10.1.0.0/16, use: staff}
  - {name: guests, source: 10.2.0.0/16, use: base}
  - {name: media, server_name: ['suffix:media.example', 'suffix:ads.example'], action: allow, log: false}
lists:
  - {name: known, file: known, format: domains}
)";

std::string error(const std::string& policy) {
    try {
        read_policy(YamlReader::parse("p.yaml", policy));
        return "accepted";
    } catch (const FileError& error) {
        return error.what();
    }
}

class ProfileTest : public testing::Test {
  protected:
    Facts flow(const char* source, std::string_view server_name) const {
        Facts facts;
        facts.source = Endpoint::parse(source).value();
        facts.destination = Endpoint::parse("192.0.2.1:443").value();
        facts.protocol = Protocol::tls;
        facts.server_name = server_name;
        return facts;
    }
    Verdict judge(const char* source, std::string_view server_name) const {
        return policy_.judge(flow(source, server_name));
    }

    const Policy policy_ = read_policy(YamlReader::parse("p.yaml", text))
                               .with_lists(test::make_lists({{"known", "", {"known.example"}}}));
};

TEST_F(ProfileTest, TheProfilesOfAGroupAreAskedInOrder) {
    EXPECT_EQ(judge("10.1.0.1:1", "a.updates.example").rule, "base/1");
    EXPECT_FALSE(judge("10.1.0.1:1", "a.updates.example").outcome.log);
    EXPECT_EQ(judge("10.1.0.1:1", "x.ads.example").rule, "base/ads");
    EXPECT_EQ(judge("10.1.0.1:1", "x.ads.example").outcome.style, DenyStyle::alert);
    EXPECT_EQ(judge("10.1.0.1:1", "good.example").rule, "strict/1");
}

TEST_F(ProfileTest, UncategorizedAndAnyAreRows) {
    EXPECT_EQ(judge("10.1.0.1:1", "unknown.example").rule, "strict/uncategorized");
    EXPECT_EQ(judge("10.1.0.1:1", "unknown.example").outcome.style, DenyStyle::close);
    EXPECT_EQ(judge("10.1.0.1:1", "www.known.example").rule, "strict/any");
    EXPECT_EQ(judge("10.1.0.1:1", "").rule, "strict/any");
}

TEST_F(ProfileTest, WhenNoRowDecidesTheRulesGoOn) {
    EXPECT_EQ(judge("10.2.0.1:1", "x.ads.example").rule, "base/ads");
    EXPECT_EQ(judge("10.2.0.1:1", "x.other.example").rule, "default");
    EXPECT_EQ(judge("10.3.0.1:1", "x.ads.example").rule, "media") << "its rule's source leaves this flow out";
}

TEST_F(ProfileTest, AProfileThatIsNotEnforcedDecidesNothingAndSaysWhatItWouldHaveDenied) {
    Verdict verdict = judge("10.3.0.1:1", "tv.media.example");
    EXPECT_TRUE(verdict.allowed());
    EXPECT_EQ(verdict.rule, "media");
    EXPECT_EQ(verdict.would_deny, "trial/no-media");
    EXPECT_TRUE(verdict.outcome.log) << "the rule that allows logs nothing, but this must be seen";
    // What it would have allowed is not thereby allowed.
    EXPECT_EQ(judge("10.3.0.1:1", "fine.example").rule, "default");
    EXPECT_FALSE(judge("10.3.0.1:1", "fine.example").allowed());
    // Denied anyway: nothing would have changed.
    EXPECT_EQ(judge("10.1.0.1:1", "tv.media.example").would_deny, "");
}

TEST_F(ProfileTest, ExplainNamesRowProfileAndWhatIsShadowed) {
    Explanation explanation = explain(policy_, flow("10.1.0.1:1", "x.ads.example"));
    ASSERT_NE(explanation.decider, nullptr);
    EXPECT_EQ(explanation.decider->rule->name, "base/ads");
    EXPECT_EQ(explanation.decider->profile->name, "base");
    EXPECT_EQ(explanation.decider->user->name, "lab");
    EXPECT_EQ(explanation.because, (std::vector<std::string>{
                                       "source 10.1.0.1 matches 10.1.0.0/16",
                                       "server_name x.ads.example matches suffix:ads.example",
                                   }));
    EXPECT_EQ(explanation.passed_over.at(2), "base/1 (line 6): server_name x.ads.example does not match");
    EXPECT_EQ(explanation.shadowed, (std::vector<std::string>{
                                        "strict/uncategorized (line 11): would deny",
                                        "strict/any (line 12): would deny",
                                        "media (line 24): would allow",
                                    }));
    // A profile whose rule does not match takes one line, however many rows it has.
    explanation = explain(policy_, flow("10.3.0.1:1", "x.ads.example"));
    EXPECT_EQ(explanation.passed_over.size(), 4u);
    EXPECT_EQ(explanation.passed_over.at(2), "lab (line 22): source 10.3.0.1 does not match");
}

TEST_F(ProfileTest, NothingToWarnOf) {
    EXPECT_EQ(lint(policy_).size(), 0u);
}

TEST(ProfileFile, MistakesSayWhatWasExpected) {
    auto with_rows = [](const std::string& rows) {
        return "default: deny\nprofiles:\n- name: p\n  rows:\n" + rows;
    };
    EXPECT_EQ(error(with_rows("  - {action: allow}\n")),
              "p.yaml:5:5: error: expected a condition in a row, or match: any, found neither");
    EXPECT_EQ(error(with_rows("  - {match: any, port: 443, action: allow}\n")),
              "p.yaml:5:13: error: expected match: any to be a row's only condition, found others");
    EXPECT_EQ(
        error(with_rows("  - {name: a/b, port: 443, action: allow}\n")),
        "p.yaml:5:12: error: expected a name of 1 to 31 characters of printable ASCII without a slash, found "
        "\"a/b\"");
    EXPECT_EQ(
        error(with_rows("  - {name: a, port: 1, action: allow}\n  - {name: a, port: 2, action: deny}\n")),
        "p.yaml:6:5: error: expected a name of its own for each rule, found \"p/a\" again (first on line 5)");
    const std::string good = with_rows("  - {port: 443, action: allow}\n");
    EXPECT_EQ(error(good + "groups: [{name: p, profiles: p}]\n"),
              "p.yaml:6:10: error: expected a name of its own for each profile and group, found \"p\" again");
    EXPECT_EQ(error(good + "groups: [{name: g, profiles: [q]}]\n"),
              "p.yaml:6:31: error: expected the name of a profile above, found \"q\"");
    EXPECT_EQ(
        error(good + "rules: [{name: r, use: pp}]\n"),
        "p.yaml:6:24: error: expected the name of a profile or a group, found \"pp\" (did you mean p?)");
    EXPECT_EQ(error(good + "rules: [{name: r, use: p, action: deny}]\n"),
              "p.yaml:6:35: error: expected use: without action: (the profile's rows have it), found both");
}

TEST(ProfileFile, AProfileThatNobodyUsesIsWarnedOf) {
    Policy policy = read_policy(YamlReader::parse(
        "p.yaml", "default: deny\nprofiles:\n- {name: p, rows: [{port: 443, action: allow}]}\n"));
    ASSERT_EQ(lint(policy).size(), 1u);
    EXPECT_EQ(lint(policy)[0].message,
              "profile \"p\" is never asked: no rule says use: p, or names a group that has it");
}

}  // namespace
}  // namespace sluice::policy
