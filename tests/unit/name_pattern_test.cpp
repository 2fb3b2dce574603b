#include "policy/name_pattern.h"

#include <gtest/gtest.h>

#include "policy/server_name.h"
#include "userspace/tls/server_name.h"

namespace sluice::policy {
namespace {

bool matches(std::string_view pattern, std::string_view name) {
    auto parsed = NamePattern::parse(pattern);
    EXPECT_TRUE(parsed) << pattern << ": " << (parsed ? "" : parsed.error());
    return parsed && parsed->matches(name);
}

std::string error(std::string_view pattern) {
    auto parsed = NamePattern::parse(pattern);
    return parsed ? "accepted" : parsed.error();
}

TEST(NamePattern, ExactIsThatNameAndNothingElse) {
    EXPECT_TRUE(matches("exact:www.example.com", "www.example.com"));
    EXPECT_FALSE(matches("exact:www.example.com", "example.com"));
    EXPECT_FALSE(matches("exact:www.example.com", "a.www.example.com"));
    EXPECT_FALSE(matches("exact:example.com", "example.com.evil.net"));
}

TEST(NamePattern, SuffixKeepsToLabelBorders) {
    EXPECT_TRUE(matches("suffix:example.com", "example.com"));
    EXPECT_TRUE(matches("suffix:example.com", "a.b.example.com"));
    EXPECT_FALSE(matches("suffix:example.com", "notexample.com"));
    EXPECT_FALSE(matches("suffix:example.com", "example.com.evil.net"));
    EXPECT_FALSE(matches("suffix:example.com", "com"));
    EXPECT_TRUE(matches("suffix:com", "example.com"));
}

struct GlobCase {
    const char* pattern;
    const char* name;
    bool expected;
};

TEST(NamePattern, GlobFollowsLabels) {
    const GlobCase cases[] = {
        {"*.example.com", "www.example.com", true},
        {"*.example.com", "example.com", false},  // not the apex
        {"*.example.com", "a.b.example.com", false},
        {"*.example.com", "www.example.com.evil.net", false},
        {"**.example.com", "www.example.com", true},
        {"**.example.com", "a.b.c.example.com", true},
        {"**.example.com", "example.com", false},
        {"**.example.com", "notexample.com", false},
        {"a*b.example.com", "axb.example.com", true},
        {"a*b.example.com", "axxbxb.example.com", true},
        {"a*b.example.com", "ab.example.com", false},  // at least one character
        {"a*b.example.com", "a.b.example.com", false},
        {"cdn*.example.com", "cdn1.example.com", true},
        {"cdn*.example.com", "cdn.example.com", false},
        {"*", "localhost", true},
        {"*", "example.com", false},
        {"**", "localhost", true},
        {"**", "a.b.c", true},
        {"www.**", "www.example.com", true},
        {"www.**", "www", false},
        {"a.**.z", "a.b.z", true},
        {"a.**.z", "a.b.c.z.z", true},
        {"a.**.z", "a.z", false},
        {"**.b.**", "a.b.c", true},
        {"**.b.**", "b.b.b", true},
        {"**.b.**", "a.b", false},
        {"**.*", "a.b", true},
        {"**.*", "a", false},
        {"**.**", "a", false},
        {"*a*", "xay", true},
        {"*a*", "aaa", true},
        {"*a*", "aa", false},
        {"**.a*.com", "x.ab.ac.com", true},
        {"www.example.com", "www.example.com", true},
        {"www.example.com", "www.example.org", false},
    };
    for (const GlobCase& c : cases) {
        EXPECT_EQ(matches(std::string("glob:") + c.pattern, c.name), c.expected)
            << c.pattern << " on " << c.name;
    }
}

TEST(NamePattern, RegexIsAnchoredWhetherOrNotItSaysSo) {
    EXPECT_TRUE(matches(R"(re:www\.example\.com)", "www.example.com"));
    EXPECT_FALSE(matches(R"(re:www\.example\.com)", "www.example.com.evil.net"));
    EXPECT_FALSE(matches(R"(re:example\.com)", "www.example.com"));
    EXPECT_TRUE(matches(R"(re:^[a-z]+\.example\.com$)", "www.example.com"));
    EXPECT_FALSE(matches(R"(re:a|b)", "ab"));
    EXPECT_TRUE(matches(R"(re:WWW\.Example\.com)", "www.example.com"));
}

TEST(NamePattern, AnEmptyNameMatchesNothing) {
    for (const char* pattern : {"exact:a", "suffix:a", "glob:*", "glob:**", "re:.*", "re:()"}) {
        EXPECT_FALSE(matches(pattern, "")) << pattern;
    }
}

TEST(NamePattern, CapitalsAndOneTrailingDotMakeNoDifference) {
    EXPECT_TRUE(matches("exact:WWW.Example.COM.", "www.example.com"));
    EXPECT_TRUE(matches("suffix:Example.COM.", "www.example.com"));
    EXPECT_TRUE(matches("glob:*.Example.COM.", "www.example.com"));
    EXPECT_EQ(NamePattern::parse("suffix:Example.COM.")->canonical(), "suffix:example.com");
    EXPECT_EQ(NamePattern::parse("suffix:Example.COM.")->text(), "suffix:Example.COM.");
}

TEST(NamePattern, ARegexThatWouldTakeAgesElsewhereTakesNone) {
    EXPECT_FALSE(matches("re:(a+)+b", std::string(250, 'a')));
    EXPECT_FALSE(matches("glob:" + std::string("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"), std::string(63, 'a')));
    std::string deep;
    for (int i = 0; i < 20; ++i)
        deep += "**.a.";
    std::string name;
    for (int i = 0; i < 120; ++i)
        name += "a.";
    EXPECT_FALSE(matches("glob:" + deep + "b", name + "a"));
}

TEST(NamePattern, MistakesSayWhatWasExpected) {
    EXPECT_EQ(error("www.example.com"),
              "expected exact:, suffix:, glob: or re: before the name, found \"www.example.com\"");
    EXPECT_EQ(error(""), "expected exact:, suffix:, glob: or re: before the name, found \"\"");
    EXPECT_EQ(error("regex:a"), "expected exact:, suffix:, glob: or re: before the name, found \"regex:a\"");
    EXPECT_EQ(error("exact:"), "expected a server name, found \"\"");
    EXPECT_EQ(error("exact:."), "expected a server name, found \".\"");
    EXPECT_EQ(error("suffix:.example.com"),
              "expected the suffix without a leading dot (it keeps to label borders by itself), found "
              "\".example.com\"");
    EXPECT_EQ(error("suffix:*.example.com"),
              "expected a name without wildcards (they need glob:), found \"*.example.com\"");
    EXPECT_EQ(error("exact:192.0.2.1"),
              "expected a name (addresses go under destination:), found the address \"192.0.2.1\"");
    EXPECT_NE(error("exact:192.0.2.1."), "accepted");
    EXPECT_EQ(error("exact:a..b"), "expected no empty label, found one in \"a..b\"");
    EXPECT_EQ(error("exact:a.."), "expected no empty label, found one in \"a..\"");
    EXPECT_EQ(error("exact:a b"),
              "expected only letters, digits, hyphens, underscores and dots in a server name, found \" \" in "
              "\"a b\"");
    EXPECT_EQ(error("exact:" + std::string(64, 'a')).substr(0, 52),
              "expected labels of at most 63 bytes, found one of 64");
    EXPECT_EQ(error("glob:a**.example.com"), "expected ** to be a whole label, found \"a**\"");
    EXPECT_EQ(error("glob:***"), "expected ** to be a whole label, found \"***\"");
    EXPECT_EQ(error("re:"), "expected a regular expression after re:, found nothing");
    EXPECT_EQ(error("re:(a"), "expected an RE2 regular expression, found a mistake: missing ): (a");
    EXPECT_EQ(error("re:(?=a)").substr(0, 57), "expected an RE2 regular expression, found a mistake: inva");
    EXPECT_NE(error("re:((((a{100}){100}){100}){100})"), "accepted");
    EXPECT_NE(error("exact:" + std::string(127, 'a') + "." + std::string(127, 'b')), "accepted");
}

TEST(NamePattern, InternationalisedNamesAskForPunycode) {
    EXPECT_EQ(error("exact:b\xc3\xbc"
                    "cher.example"),
              "expected an internationalised name in punycode (xn--...), found \"b\\xc3\\xbc"
              "cher.example\"");
    EXPECT_NE(error("re:b\xc3\xbc"
                    "cher")
                  .find("punycode"),
              std::string::npos);
    EXPECT_TRUE(matches("exact:xn--bcher-kva.example", "xn--bcher-kva.example"));
}

// Else there would be names that a client can claim and no rule can be written for.
TEST(NamePattern, EveryNameThatAHelloMayCarryCanBeWrittenInARule) {
    const std::string label63(63, 'a');
    const std::string bytes253 = label63 + "." + label63 + "." + label63 + "." + std::string(61, 'b');
    for (const std::string& name :
         {std::string("WWW.Example.com."), std::string("_dmarc.-a-.1"), std::string("1.2.3"), label63,
          label63 + "a", bytes253, bytes253 + ".", bytes253 + "b", std::string("a..b"), std::string(".a"),
          std::string("a.."), std::string("."), std::string("a b"), std::string("a*"), std::string("\xff"),
          std::string("a\0b", 3)}) {
        std::string compared;
        bool may_occur = tls::normalize_server_name(name, compared).empty();
        auto canonical = canonical_server_name(name);
        EXPECT_EQ(canonical.has_value(), may_occur) << name;
        if (may_occur && canonical) EXPECT_EQ(*canonical, compared);
        EXPECT_EQ(NamePattern::parse("exact:" + name).has_value(), may_occur) << name;
    }
}

TEST(NamePattern, HostileTextStaysEscapedInErrors) {
    EXPECT_EQ(
        error("exact:\x1b[31mred"),
        "expected only letters, digits, hyphens, underscores and dots in a server name, found \"\\x1b\" in "
        "\"\\x1b[31mred\"");
}

}  // namespace
}  // namespace sluice::policy
