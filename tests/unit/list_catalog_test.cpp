// Lists from files, as an operator keeps them: what is known, what is refused and what is kept.
#include "policy/list_catalog.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "policy/policy_file.h"
#include "tests/support/temporary_directory.h"

namespace sluice::policy {
namespace {

namespace fs = std::filesystem;

class ListCatalogTest : public testing::Test {
  protected:
    void SetUp() override { fs::create_directories(directory_.path() / "ut1"); }

    void write(const std::string& name, const std::string& text) {
        fs::create_directories((directory_.path() / name).parent_path());
        directory_.write(name, text);
        // Two versions of one second must differ in time, as they would for an operator.
        fs::last_write_time(directory_.path() / name,
                            fs::file_time_type::clock::now() + std::chrono::seconds(++age_));
    }
    Policy policy(const std::string& text) const {
        return read_policy(YamlReader::parse(directory_.path() / "p.yaml", text));
    }
    // The error, without the directory's name.
    template <typename Work>
    std::string error(Work work) const {
        try {
            work();
            return "accepted";
        } catch (const FileError& error) {
            return shorten(error.what());
        }
    }
    std::string shorten(std::string text) const {
        const std::string prefix = directory_.path().string() + "/";
        for (std::size_t at = 0; (at = text.find(prefix)) != text.npos;)
            text.erase(at, prefix.size());
        return text;
    }
    static std::string judge(const Policy& policy, std::string_view name) {
        Facts facts;
        facts.protocol = Protocol::tls;
        facts.server_name = name;
        const Verdict verdict = policy.judge(facts);
        return std::string(verdict.rule) + " " + std::string(verdict.list) + "/" +
               std::string(verdict.category);
    }

    static constexpr const char* text_ = R"(
default: allow
lists:
  - {name: ads, file: ads.txt, format: adblock, category: advertising}
  - {name: hosts, file: hosts, format: hosts}
  - {name: ut1, folder: ut1, format: ut1}
rules:
  - {name: no-ads, list: ads, action: deny}
  - {name: no-hosts, list: hosts, action: deny}
  - {name: no-games, category: [games, adult], action: deny}
  - {name: unknown, category: uncategorized, action: deny}
)";
    void write_all() {
        write("ads.txt", "! title\n||ads.example^\n@@||good.ads.example^\nexample.com##.ad\n");
        write("hosts", "127.0.0.1 localhost\n0.0.0.0 tracker.example\n");
        write("ut1/games/domains", "play.example\n");
        write("ut1/adult/domains", "one.example\ntwo.example\nthree.example\nfour.example\n");
        write("ut1/shop/domains", "shop.example\nplay.example\n");
        write("ut1/README", "not a category");
    }

    test::TemporaryDirectory directory_;
    int age_ = 0;
};

TEST_F(ListCatalogTest, RulesMatchByListAndCategoryAndSayWhich) {
    write_all();
    const Policy bare = policy(text_);
    LoadedLists loaded = load_lists(bare.list_sources(), nullptr);
    EXPECT_TRUE(loaded.warnings.empty());
    const Policy bound = bare.with_lists(loaded.catalog);
    EXPECT_EQ(judge(bound, "www.ads.example"), "no-ads ads/advertising");
    EXPECT_EQ(judge(bound, "good.ads.example"), "unknown /uncategorized");
    EXPECT_EQ(judge(bound, "tracker.example"), "no-hosts hosts/");
    EXPECT_EQ(judge(bound, "www.tracker.example"), "unknown /uncategorized");
    EXPECT_EQ(judge(bound, "www.play.example"), "no-games ut1/games");
    EXPECT_EQ(judge(bound, "shop.example"), "default /");
    EXPECT_EQ(judge(bound, ""), "default /");
    ASSERT_EQ(loaded.catalog->lists().size(), 5u);
    EXPECT_EQ((*loaded.catalog)[0].ignored, 1u);
}

TEST_F(ListCatalogTest, AMalformedHelloIsInNoCategoryNotEvenUncategorized) {
    write_all();
    const Policy bare = policy(text_);
    const Policy bound = bare.with_lists(load_lists(bare.list_sources(), nullptr).catalog);
    Facts facts;
    facts.protocol = Protocol::malformed;
    facts.server_name = "www.ads.example";
    EXPECT_EQ(bound.judge(facts).rule, "malformed");
}

TEST_F(ListCatalogTest, ACategoryThatNoListHasIsAMistake) {
    write_all();
    const Policy bare = policy(
        "default: allow\nlists: [{name: ut1, folder: ut1, format: ut1}]\nrules:\n- {name: a, category: "
        "gamse, "
        "action: deny}\n");
    EXPECT_EQ(error([&] { bare.with_lists(load_lists(bare.list_sources(), nullptr).catalog); }),
              "p.yaml:4:23: error: expected a category of some list, or uncategorized, found \"gamse\"");
}

TEST_F(ListCatalogTest, WithoutAFormerListABrokenOneIsAnError) {
    write_all();
    const Policy bare = policy(text_);
    const auto load = [&] { load_lists(bare.list_sources(), nullptr); };
    write("hosts", "<html>\n<p>Not found\n");
    EXPECT_EQ(error(load),
              "hosts:1:1: error: expected an address and names, found \"<html>\"; 2 lines are not of format "
              "hosts, beside 0 names");
    fs::remove(directory_.path() / "hosts");
    EXPECT_EQ(error(load),
              "p.yaml:5:5: error: expected a readable list, found \"hosts\": No such file or directory");
    write("hosts", "127.0.0.1 localhost\n");
    EXPECT_EQ(error(load), "hosts: error: expected names in a list, found 1 lines of other things");
    write("hosts", "");
    EXPECT_EQ(error(load), "accepted");
    fs::remove_all(directory_.path() / "ut1");
    EXPECT_EQ(
        error(load),
        "p.yaml:6:5: error: expected a folder with CATEGORY/domains in it for list \"ut1\", found none in "
        "\"ut1\"");
}

TEST_F(ListCatalogTest, ABrokenOrShrunkenOrVanishedListKeepsTheLastGoodOne) {
    write_all();
    const Policy bare = policy(text_);
    const LoadedLists first = load_lists(bare.list_sources(), nullptr);
    write("ads.txt", "\x1f\x8brubbish");
    write("hosts", "0.0.0.0 tracker.example\n0.0.0.0 second.example\n");
    write("ut1/adult/domains", "one.example\n");
    fs::remove_all(directory_.path() / "ut1/games");
    const LoadedLists second = load_lists(bare.list_sources(), first.catalog.get());
    ASSERT_EQ(second.warnings.size(), 3u);
    EXPECT_EQ(shorten(second.warnings[0]),
              "ads.txt: error: expected gzip data, found broken bytes; the last good one is kept");
    EXPECT_EQ(
        shorten(second.warnings[1]),
        "ut1/adult/domains: error: expected at least half of the former 4 names, found 1; the last good "
        "one is kept");
    EXPECT_EQ(shorten(second.warnings[2]),
              "ut1/games/domains: warning: the file is gone; the last good one is kept");
    const Policy bound = bare.with_lists(second.catalog);
    EXPECT_EQ(judge(bound, "www.ads.example"), "no-ads ads/advertising");
    EXPECT_EQ(judge(bound, "good.ads.example"), "unknown /uncategorized");
    EXPECT_EQ(judge(bound, "second.example"), "no-hosts hosts/");
    EXPECT_EQ(judge(bound, "two.example"), "no-games ut1/adult");
    EXPECT_EQ(judge(bound, "play.example"), "no-games ut1/games");
}

TEST_F(ListCatalogTest, WhatIsBadIsToldWithFileAndLine) {
    std::string names;
    for (int i = 0; i < 100; ++i)
        names += "n" + std::to_string(i) + ".example\n" + (i % 20 == 0 ? "a b\n" : "");
    write("list", names);
    const Policy bare = policy("default: allow\nlists: [{name: l, file: list, format: domains}]\n");
    const LoadedLists loaded = load_lists(bare.list_sources(), nullptr);
    ASSERT_EQ(loaded.warnings.size(), 4u);
    EXPECT_TRUE(shorten(loaded.warnings[0]).starts_with("list:2: warning: expected only letters"));
    EXPECT_EQ(shorten(loaded.warnings[3]), "list: warning: 5 lines in all are not understood");
    EXPECT_EQ(loaded.catalog->names().names(), 100u);
}

TEST_F(ListCatalogTest, APreparedFileSpeaksForListsThatHaveNotChanged) {
    write_all();
    const Policy bare = policy(std::string(text_) + "prepared_lists: lists.prepared\n");
    const auto made = load_lists(bare.list_sources(), nullptr, false).catalog;
    made->save(directory_.path() / "lists.prepared");
    LoadedLists loaded = load_lists(bare.list_sources(), nullptr);
    EXPECT_TRUE(loaded.warnings.empty());
    EXPECT_TRUE(std::ranges::equal(loaded.catalog->names().block(), made->names().block()));
    EXPECT_EQ(judge(bare.with_lists(loaded.catalog), "play.example"), "no-games ut1/games");
    // Also for one that has become unreadable since, as after a restart.
    fs::remove(directory_.path() / "ads.txt");
    loaded = load_lists(bare.list_sources(), nullptr);
    ASSERT_EQ(loaded.warnings.size(), 1u);
    EXPECT_EQ(judge(bare.with_lists(loaded.catalog), "ads.example"), "no-ads ads/advertising");
}

TEST_F(ListCatalogTest, ABrokenPreparedFileIsRefusedInOneLineAndTheListsAreRead) {
    write_all();
    const Policy bare = policy(std::string(text_) + "prepared_lists: lists.prepared\n");
    write("lists.prepared", "no such thing");
    const LoadedLists loaded = load_lists(bare.list_sources(), nullptr);
    ASSERT_EQ(loaded.warnings.size(), 1u);
    EXPECT_EQ(
        shorten(loaded.warnings[0]),
        "lists.prepared: error: expected a prepared list file, found one that is too short; the lists are "
        "read instead");
    EXPECT_EQ(judge(bare.with_lists(loaded.catalog), "play.example"), "no-games ut1/games");
}

TEST_F(ListCatalogTest, MistakesInThePolicyFileHaveAPlace) {
    const auto mistake = [&](const std::string& text) {
        return error([&] { policy("default: allow\n" + text); });
    };
    EXPECT_EQ(mistake("lists: [{name: a, file: f, format: csv}]\n"),
              "p.yaml:2:36: error: expected domains, hosts, adblock or ut1, found \"csv\"");
    EXPECT_EQ(mistake("lists: [{name: a, file: f, format: ut1}]\n"),
              "p.yaml:2:25: error: expected folder: with format: ut1, found file:");
    EXPECT_EQ(mistake("lists: [{name: a, folder: f, format: hosts}]\n"),
              "p.yaml:2:27: error: expected file: with this format, found folder:");
    EXPECT_EQ(
        mistake("lists:\n- {name: a, file: f, format: hosts}\n- {name: a, file: g, format: hosts}\n"),
        "p.yaml:4:3: error: expected a name of its own for each list, found \"a\" again (first on line 3)");
    EXPECT_EQ(mistake("rules: [{name: r, list: a, action: deny}]\n"),
              "p.yaml:2:25: error: expected the name of a list (see lists:), found \"a\"");
    EXPECT_EQ(mistake("rules: [{name: r, category: a, action: deny}]\n"),
              "p.yaml:2:29: error: expected lists: in the policy for a rule with category:, found none");
    EXPECT_EQ(
        mistake("lists: [{name: a, file: f, format: hosts, category: uncategorized}]\n"),
        "p.yaml:2:53: error: expected another category (this one is for names that no list knows), found "
        "\"uncategorized\"");
}

}  // namespace
}  // namespace sluice::policy
