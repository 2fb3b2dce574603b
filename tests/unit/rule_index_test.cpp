// The index must never leave out a rule that matches: whatever the policy and the flow, the verdict is that
// of asking every rule in turn.
#include "policy/rule_index.h"

#include <gtest/gtest.h>

#include <random>

#include "policy/policy_file.h"
#include "tests/support/lists.h"

namespace sluice::policy {
namespace {

class Dice {
  public:
    explicit Dice(unsigned seed) : random_(seed) {}
    std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }
    bool one_in(std::size_t n) { return below(n) == 0; }
    std::string pick(std::initializer_list<const char*> words) { return words.begin()[below(words.size())]; }

  private:
    std::mt19937 random_;
};

std::string random_name(Dice& dice) {
    std::string name = dice.pick({"example.com", "example.net", "a.example.com", "co.uk", "com"});
    for (std::size_t labels = dice.below(4); labels > 0; --labels)
        name = dice.pick({"www", "a", "b", "cdn1", "xn--p1ai"}) + "." + name;
    return name;
}

std::string random_pattern(Dice& dice) {
    std::string name = random_name(dice);
    switch (dice.below(8)) {
        case 0:
            return "glob:*." + name;
        case 1:
            return "glob:**." + name;
        case 2:
            return "glob:a*." + name;
        case 3:
            return "re:.*\\\\." + name;
        case 4:
            return "re:(a|b)\\\\." + name;
        case 5:
            return dice.pick({"re:.*", "glob:*", "glob:**", "none"});
        default:
            return (dice.one_in(2) ? "exact:" : "suffix:") + name;
    }
}

std::string random_prefix(Dice& dice) {
    return dice.pick({"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "0.0.0.0/0", "::/0",
                      "2001:db8::/32", "2001:db8::1", "255.255.255.255"});
}

constexpr std::initializer_list<const char*> macs{"02:00:5e:10:00:01", "02:00:5e:10:00:02",
                                                  "02:00:5f:10:00:01"};

std::string random_conditions(Dice& dice) {
    std::string out;
    if (dice.one_in(3)) out += ", source: [\"" + random_prefix(dice) + "\", \"" + random_prefix(dice) + "\"]";
    if (dice.one_in(4)) out += ", destination: \"" + random_prefix(dice) + "\"";
    if (dice.one_in(4)) out += ", port: " + dice.pick({"443", "[80, 1-65535]", "8000-8100", "65535"});
    if (dice.one_in(4))
        out += ", protocol: " + dice.pick({"tls", "[http, ssh]", "server-first", "[tls, other]"});
    if (dice.one_in(2))
        out += ", server_name: [\"" + random_pattern(dice) + "\", \"" + random_pattern(dice) + "\"]";
    if (dice.one_in(8)) out += ", list: " + dice.pick({"l", "m", "[l, m]"});
    if (dice.one_in(8)) out += ", category: " + dice.pick({"c", "uncategorized", "[c, uncategorized]"});
    if (dice.one_in(8)) out += ", mac: " + dice.pick({"02:00:5e:10:00:01", "'02:00:5e'"});
    if (dice.one_in(4)) {
        out += ", not: {" +
               dice.pick({"port: 443", "list: m", "category: c", "mac: '02:00:5e'",
                          "any_of: [{port: 80}, {mac: 02:00:5e:10:00:01}]"}) +
               "}";
    }
    if (dice.one_in(8))
        out +=
            ", any_of: [{mac: '02:00:5e'}, " + dice.pick({"{port: 443}", "{not: {mac: '02:00:5f'}}"}) + "]";
    return out;
}

std::string random_policy(Dice& dice, std::size_t rules) {
    std::string text =
        "default: allow\nmalformed: allow\nlists:\n- {name: l, file: l, format: domains, category: c}\n"
        "- {name: m, file: m, format: domains}\nprofiles:\n- name: p\n  enforce: " +
        dice.pick({"true", "false"}) + "\n  rows:\n";
    auto outcome = [&] { return dice.pick({"allow", "deny"}); };
    for (int i = 0; i < 3; ++i)
        text +=
            "  - {action: " + outcome() + random_conditions(dice) + ", time: {days: mon-sun, zone: UTC}}\n";
    text += "rules:\n";
    for (std::size_t i = 0; i < rules; ++i) {
        std::string use = dice.one_in(5) ? "use: p" : "action: " + outcome();
        text += "- {name: r" + std::to_string(i) + ", " + use + random_conditions(dice) + "}\n";
    }
    return text;
}

Facts random_flow(Dice& dice, const std::string& name) {
    auto address = [&] {
        return IpAddress::parse(dice.pick({"10.1.2.3", "10.1.9.9", "10.200.0.1", "11.0.0.0", "0.0.0.0", "::",
                                           "2001:db8::1", "2001:db8::2", "ffff::ffff", "255.255.255.255"}))
            .value();
    };
    Facts facts;
    facts.source.address = address();
    facts.destination = {address(), static_cast<std::uint16_t>(dice.one_in(2) ? 443 : dice.below(65535) + 1)};
    facts.protocol = static_cast<Protocol>(dice.below(protocol_words.size()));
    facts.server_name = dice.one_in(4) ? std::string_view() : std::string_view(name);
    if (dice.one_in(2)) facts.mac = MacAddress::parse(dice.pick(macs));
    return facts;
}

// Rule by rule, and shadow rows as policy.h has them.
Verdict judge_in_turn(const Policy& policy, const Facts& known_facts) {
    const Facts facts = policy.complete(known_facts);
    const Step* shadow = nullptr;
    for (const Step& step : policy.steps()) {
        if (!Policy::is_asked(step, facts) || !step.matches(facts)) continue;
        if (!step.enforced()) {
            if (shadow == nullptr) shadow = &step;
            continue;
        }
        bool would = shadow != nullptr && shadow->rule->outcome.action == Action::deny &&
                     step.rule->outcome.action == Action::allow;
        return {step.rule->outcome, step.rule->name, would ? std::string_view(shadow->rule->name) : ""};
    }
    bool would = shadow != nullptr && shadow->rule->outcome.action == Action::deny;
    return {policy.fallback(), facts.is_malformed() ? malformed_rule_name : default_rule_name,
            would ? std::string_view(shadow->rule->name) : ""};
}

TEST(RuleIndex, DecidesAsIfEveryRuleWereAskedInTurn) {
    for (unsigned seed = 0; seed < 60; ++seed) {
        Dice dice(seed);
        const std::string text = random_policy(dice, 1 + dice.below(150));
        const Policy policy = read_policy(YamlReader::parse("p.yaml", text))
                                  .with_lists(test::make_lists(
                                      {{"l", "c", {"a.example.com", "co.uk"}}, {"m", "", {"www.com"}}}));
        for (int i = 0; i < 300; ++i) {
            const std::string name = random_name(dice);
            Facts facts = random_flow(dice, name);
            Verdict expected = judge_in_turn(policy, facts);
            Verdict verdict = policy.judge(facts);
            ASSERT_EQ(verdict.rule, expected.rule) << "seed " << seed << ", " << name << "\n" << text;
            ASSERT_EQ(verdict.would_deny, expected.would_deny) << "seed " << seed << "\n" << text;
        }
    }
}

// By which the flow is let in.
const Step& decider(const Policy& policy, const Facts& known_facts) {
    const Facts facts = policy.complete(known_facts);
    return *std::ranges::find_if(policy.steps(), [&](const Step& step) {
        return step.enforced() && Policy::is_asked(step, facts) && step.matches(facts);
    });
}

TEST(MacRules, ARuleThatLetsAnUnknownClientInWouldLetItInWhoeverItIs) {
    std::size_t let_in = 0;
    for (unsigned seed = 0; seed < 15; ++seed) {
        Dice dice(seed);
        const std::string text = random_policy(dice, 1 + dice.below(20));
        const Policy policy =
            read_policy(YamlReader::parse("p.yaml", text))
                .with_lists(test::make_lists({{"l", "c", {"co.uk"}}, {"m", "", {"www.com"}}}));
        for (int i = 0; i < 300; ++i) {
            const std::string name = random_name(dice);
            Facts facts = random_flow(dice, name);
            facts.mac.reset();
            const Verdict verdict = policy.judge(facts);
            if (!verdict.allowed() || verdict.rule == default_rule_name ||
                verdict.rule == malformed_rule_name)
                continue;
            const Step& by = decider(policy, facts);
            ASSERT_EQ(by.rule->name, verdict.rule);
            let_in += by.rule->when.ask_for(Condition::mac);
            for (const char* whoever : macs) {
                facts.mac = MacAddress::parse(whoever);
                ASSERT_TRUE(by.matches(policy.complete(facts))) << verdict.rule << " " << whoever << "\n"
                                                                << text;
            }
        }
    }
    EXPECT_GT(let_in, 100u) << "not by rules without such conditions alone";
}

TEST(RuleIndex, MoreRulesThanBitsAreIndexedInBlocks) {
    std::string text = "default: deny\nrules:\n";
    for (int i = 0; i < 20000; ++i) {
        text += "- {name: r" + std::to_string(i) + ", server_name: 'exact:h" + std::to_string(i) +
                ".example', action: allow}\n";
    }
    Policy policy = read_policy(YamlReader::parse("p.yaml", text));
    Facts facts;
    facts.protocol = Protocol::tls;
    for (int i : {0, 1, 16383, 16384, 16385, 19998, 19999}) {
        const std::string name = "h" + std::to_string(i) + ".example";
        facts.server_name = name;
        EXPECT_EQ(policy.judge(facts).rule, "r" + std::to_string(i));
    }
    facts.server_name = "h20000.example";
    EXPECT_EQ(policy.judge(facts).rule, "default");
}

TEST(NamePattern, ARequiredSuffixIsWhatEveryMatchEndsWith) {
    auto suffix = [](const char* text) { return NamePattern::parse(text).value().required_suffix(); };
    EXPECT_EQ(suffix("exact:www.Example.com"), "www.example.com");
    EXPECT_EQ(suffix("suffix:example.com."), "example.com");
    EXPECT_EQ(suffix("glob:*.example.com"), "example.com");
    EXPECT_EQ(suffix("glob:a.*b.example.com"), "example.com");
    EXPECT_EQ(suffix("glob:www.*"), "");
    EXPECT_EQ(suffix("re:cdn[0-9]+\\.example\\.com$"), "example.com");
    EXPECT_EQ(suffix("re:.*example\\.com"), "com");
    EXPECT_EQ(suffix("re:.*example.com"), "");
    EXPECT_EQ(suffix("re:a\\.com|b\\.net"), "");
    EXPECT_EQ(suffix("re:(?-i)a\\.com"), "");
    EXPECT_EQ(suffix("re:a\\.com?"), "");
    EXPECT_EQ(suffix("re:a\\.x\\d"), "");
    EXPECT_EQ(suffix("re:a\\\\.com"), "");
}

}  // namespace
}  // namespace sluice::policy
