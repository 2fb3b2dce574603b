#include "policy/list_line.h"

#include <gtest/gtest.h>

namespace sluice::policy {
namespace {

// "names a +b !c" for a subtree a, an exact name b and an exception c; or the other kinds, with the mistake.
std::string read(ListFormat format, std::string_view text) {
    ListLine line;
    line.read(format, text);
    switch (line.kind) {
        case ListLine::Kind::nothing:
            return "nothing";
        case ListLine::Kind::ignored:
            return "ignored";
        case ListLine::Kind::bad:
            return "bad: " + line.mistake;
        case ListLine::Kind::names:
            break;
    }
    std::string result = "names";
    for (const ListLine::Name& name : line.names) {
        const char* mark = name.reach == NameReach::subtree ? "" : name.reach == NameReach::exact ? "+" : "!";
        result += " " + std::string(mark) + std::string(name.text);
    }
    return result;
}

struct Case {
    std::string_view line;
    std::string_view meaning;
};

TEST(ListLine, DomainsCoverTheNamesBelowThem) {
    for (const Case& test : std::initializer_list<Case>{
             {"example.com", "names example.com"},
             {"  WWW.Example.COM.\r", "names www.example.com"},
             {".example.com", "names example.com"},
             {"*.example.com", "names example.com"},
             {"example.com # why", "names example.com"},
             {"\xef\xbb\xbf"
              "example.com",
              "names example.com"},
             {"", "nothing"},
             {" \t\r", "nothing"},
             {"# comment", "nothing"},
             {"! comment", "nothing"},
             {"// comment", "nothing"},
             {"192.0.2.1", "ignored"},
             {"2001:db8::1", "ignored"},
             {"192.0.2", "ignored"},
             {"http://example.com/",
              "bad: expected only letters, digits, hyphens, underscores and dots in a server name, found "
              "\":\" in \"http://example.com/\""},
             {"b\xc3\xbc.example",
              "bad: expected an internationalised name in punycode (xn--...), found \"b\\xc3\\xbc.example\""},
             {"a..b", "bad: expected no empty label, found one in \"a..b\""}}) {
        EXPECT_EQ(read(ListFormat::domains, test.line), test.meaning) << test.line;
    }
}

TEST(ListLine, HostsFilesNameEachHostAlone) {
    for (const Case& test : std::initializer_list<Case>{
             {"0.0.0.0 ads.example.com", "names +ads.example.com"},
             {"127.0.0.1\tA.example  b.example # both", "names +a.example +b.example"},
             {":: ads.example.com", "names +ads.example.com"},
             {"fe80::1%lo0 localhost", "ignored"},
             {"127.0.0.1 localhost localhost.localdomain", "ignored"},
             {"0.0.0.0 0.0.0.0", "ignored"},
             {"192.0.2.1", "ignored"},
             {"# 0.0.0.0 a.example", "nothing"},
             {"ads.example.com", "bad: expected an address and names, found \"ads.example.com\""},
             {"0.0.0.0 good.example a..example",
              "bad: expected no empty label, found one in \"a..example\""}}) {
        EXPECT_EQ(read(ListFormat::hosts, test.line), test.meaning) << test.line;
    }
}

TEST(ListLine, OfAdblockRulesOnlyWholeNamesCount) {
    for (const Case& test :
         std::initializer_list<Case>{{"||example.com^", "names example.com"},
                                     {"||Example.com^|", "names example.com"},
                                     {"||example.com^$important", "names example.com"},
                                     {"||example.com^$all,doc", "names example.com"},
                                     {"@@||good.example.com^", "names !good.example.com"},
                                     {"@@||good.example.com^$important", "names !good.example.com"},
                                     {"! comment", "nothing"},
                                     {"[Adblock Plus 2.0]", "nothing"},
                                     {"# comment", "nothing"},
                                     {"||example.com^$third-party", "ignored"},
                                     {"||example.com^$domain=other.example", "ignored"},
                                     {"||example.com^$badfilter", "ignored"},
                                     {"||example.com", "ignored"},
                                     {"||example.com/ads^", "ignored"},
                                     {"||ads*.example.com^", "ignored"},
                                     {"||192.0.2.1^", "ignored"},
                                     {"||exa mple.com^", "ignored"},
                                     {"||^", "ignored"},
                                     {"example.com##.banner", "ignored"},
                                     {"##.banner", "ignored"},
                                     {"/ads[0-9]+/", "ignored"},
                                     {"@@", "ignored"}}) {
        EXPECT_EQ(read(ListFormat::adblock, test.line), test.meaning) << test.line;
    }
}

}  // namespace
}  // namespace sluice::policy
