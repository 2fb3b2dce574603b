#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "policy/name_set_builder.h"
#include "tests/support/plausible_names.h"

namespace sluice::policy {
namespace {

std::vector<std::size_t> members(const ListSet& lists) {
    std::vector<std::size_t> numbers;
    lists.for_each([&](std::size_t list) { numbers.push_back(list); });
    return numbers;
}

using Lists = std::vector<std::size_t>;

TEST(NameSet, AListedNameCoversTheNamesBelowItAndNoOther) {
    NameSetBuilder builder;
    builder.add("example.com", 3, NameReach::subtree);
    const NameSet set = builder.build();
    EXPECT_EQ(members(set.lookup("example.com")), Lists{3});
    EXPECT_EQ(members(set.lookup("a.b.example.com")), Lists{3});
    EXPECT_TRUE(set.lookup("notexample.com").empty());
    EXPECT_TRUE(set.lookup("xample.com").empty());
    EXPECT_TRUE(set.lookup("com").empty());
    EXPECT_TRUE(set.lookup("example.co").empty());
    EXPECT_TRUE(set.lookup("").empty());
    EXPECT_EQ(set.names(), 1u);
}

TEST(NameSet, AnExactNameCoversNothingBelowIt) {
    NameSetBuilder builder;
    builder.add("www.example.com", 0, NameReach::exact);
    const NameSet set = builder.build();
    EXPECT_EQ(members(set.lookup("www.example.com")), Lists{0});
    EXPECT_TRUE(set.lookup("a.www.example.com").empty());
    EXPECT_TRUE(set.lookup("example.com").empty());
}

TEST(NameSet, AnExceptionTakesANameOutOfItsOwnListOnly) {
    NameSetBuilder builder;
    builder.add("example.com", 0, NameReach::subtree);
    builder.add("good.example.com", 0, NameReach::except);
    builder.add("example.com", 1, NameReach::subtree);
    const NameSet set = builder.build();
    EXPECT_EQ(members(set.lookup("bad.example.com")), (Lists{0, 1}));
    EXPECT_EQ(members(set.lookup("good.example.com")), Lists{1});
    EXPECT_EQ(members(set.lookup("very.good.example.com")), Lists{1});
}

TEST(NameSet, ANameInSeveralListsIsKeptOnceAndKnownToAll) {
    NameSetBuilder builder;
    for (std::size_t list : {255, 0, 7, 0, 7})
        builder.add("example.com", list, NameReach::subtree);
    builder.add("www.example.com", 9, NameReach::subtree);
    const NameSet set = builder.build();
    EXPECT_EQ(set.names(), 2u);
    EXPECT_EQ(members(set.lookup("www.example.com")), (Lists{0, 7, 9, 255}));
    const auto found = set.trace("x.www.example.com");
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].suffix, "example.com");
    EXPECT_EQ(found[1].suffix, "www.example.com");
}

TEST(NameSet, AnEmptySetKnowsNothing) {
    const NameSet set = NameSetBuilder().build();
    EXPECT_TRUE(set.lookup("example.com").empty());
    EXPECT_EQ(set.names(), 0u);
}

TEST(NameSet, BytesThatNoNameHasHideNoParent) {
    NameSetBuilder builder;
    builder.add("example.com", 0, NameReach::subtree);
    const NameSet set = builder.build();
    EXPECT_EQ(members(set.lookup("a!b\xff.example.com")), Lists{0});
    EXPECT_TRUE(set.lookup("a!example.com").empty());
    EXPECT_EQ(members(set.lookup(std::string(100'000, 'a') + ".example.com")), Lists{0});
    EXPECT_EQ(members(set.lookup("..example.com")), Lists{0});
    EXPECT_TRUE(set.lookup(".").empty());
}

TEST(NameSet, TheLongestNamesAreKept) {
    const std::string label(63, 'q');
    std::string name = label + "." + label + "." + label + "." + std::string(61, 'z');
    ASSERT_EQ(name.size(), server_name_bytes_max);
    std::string deep = "a";
    while (deep.size() + 2 <= server_name_bytes_max)
        deep += ".a";
    NameSetBuilder builder;
    builder.add(name, 0, NameReach::subtree);
    builder.add(name, 1, NameReach::exact);
    builder.add(deep, 2, NameReach::subtree);
    const NameSet set = builder.build();
    EXPECT_EQ(members(set.lookup(name)), (Lists{0, 1}));
    EXPECT_EQ(members(set.lookup(deep)), Lists{2});
    name[5] = 'x';
    EXPECT_TRUE(set.lookup(name).empty());
}

// Against the obvious way, with names that share much, and lists that overlap.
TEST(NameSet, AnswersAsAMapOfNamesWould) {
    std::mt19937 random(7);
    const auto name = [&] {
        constexpr std::array<std::string_view, 6> labels{"a", "b", "ab", "xn--p1ai", "0", "-_"};
        std::string text;
        for (unsigned i = 1 + random() % 12; i > 0; --i)
            text += std::string(text.empty() ? "" : ".") + std::string(labels[random() % labels.size()]);
        return text;
    };
    std::map<std::string, NameSources> expected;
    NameSetBuilder builder;
    for (int i = 0; i < 20'000; ++i) {
        const std::string text = name();
        const std::size_t list = random() % 40;
        const auto reach = static_cast<NameReach>(random() % 3);
        builder.add(text, list, reach);
        NameSources& sources = expected[text];
        (reach == NameReach::subtree ? sources.subtree
         : reach == NameReach::exact ? sources.exact
                                     : sources.except)
            .add(list);
    }
    const NameSet set = builder.build();
    EXPECT_EQ(set.names(), expected.size());
    for (int i = 0; i < 20'000; ++i) {
        const std::string text = name();
        ListSet known, excepted;
        for (std::size_t at = 0; at != std::string::npos;) {
            if (auto found = expected.find(text.substr(at)); found != expected.end()) {
                known |= found->second.subtree;
                excepted |= found->second.except;
                if (at == 0) known |= found->second.exact;
            }
            at = text.find('.', at);
            if (at != std::string::npos) ++at;
        }
        known -= excepted;
        ASSERT_EQ(members(set.lookup(text)), members(known)) << text;
    }
    std::map<std::string, NameSources> listed;
    set.for_each([&](std::string_view text, const NameSources& sources) {
        EXPECT_TRUE(listed.emplace(text, sources).second) << text;
    });
    EXPECT_EQ(listed, expected);
}

// Broken files of prepared lists: whichever byte is wrong, it is refused.
TEST(NameSet, NoByteOfABlockMayChange) {
    NameSetBuilder builder;
    for (int i = 0; i < 300; ++i)
        builder.add("name" + std::to_string(i) + ".example", 0, NameReach::subtree);
    builder.add(std::string(60, 'q') + "." + std::string(60, 'z'), 1, NameReach::subtree);
    const NameSet set = builder.build();
    const auto copy = [&](std::size_t bytes) {
        NameSetMemory memory(bytes);
        std::copy_n(set.block().begin(), std::min(bytes, set.block().size()), memory.data());
        return memory;
    };
    EXPECT_TRUE(NameSet::open(copy(set.block().size())));
    for (std::size_t i = 0; i < set.block().size(); i += 1 + i / 100) {
        NameSetMemory memory = copy(set.block().size());
        memory.data()[i] ^= std::byte{0x10};
        EXPECT_FALSE(NameSet::open(std::move(memory))) << i;
    }
    for (std::size_t bytes : {std::size_t{0}, std::size_t{7}, sizeof(NameSetHeader), set.block().size() - 1})
        EXPECT_FALSE(NameSet::open(copy(bytes))) << bytes;
}

// Whose codes are so short that a line has room for more of them than it may hold.
TEST(NameSet, ShortNamesThatCrowdTheLinesAreAllFound) {
    constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyz0123456789";
    NameSetBuilder builder;
    std::vector<std::string> names;
    for (const char first : letters) {
        for (const char second : letters)
            names.push_back({first, second});
    }
    for (const std::string& name : names)
        builder.add(name, 0, NameReach::exact);
    const NameSet set = builder.build();
    EXPECT_EQ(set.names(), names.size());
    for (const std::string& name : names) {
        EXPECT_FALSE(set.lookup(name).empty()) << name;
        EXPECT_TRUE(set.lookup(name + "a").empty()) << name;
    }
}

TEST(NameSet, OfManyNamesEveryOneIsFoundAndNoneOfItsNeighbours) {
    std::mt19937 random(5);
    std::vector<std::string> names(400'000);
    std::ranges::generate(names, [&] { return test::plausible_name(random); });
    NameSetBuilder builder;
    std::set<std::string_view> listed;
    // Every other one: the rest asks for what is nearly there.
    for (std::size_t i = 0; i < names.size(); i += 2) {
        builder.add(names[i], i % 64, NameReach::exact);
        listed.insert(names[i]);
    }
    const NameSet set = builder.build();
    EXPECT_EQ(set.names(), listed.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
        const ListSet found = set.lookup(names[i]);
        if (i % 2 == 0) {
            ASSERT_TRUE(found.contains(i % 64)) << names[i];
        } else {
            ASSERT_EQ(!found.empty(), listed.contains(names[i])) << names[i];
        }
    }
    EXPECT_LT(set.bytes(), names.size() / 2 * 12 + 2'500'000);
}

}  // namespace
}  // namespace sluice::policy
