// Lists of names under a running agent: what the log says of them, and what a reload does.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include "tests/support/gateway.h"
#include "tests/support/hello_builder.h"
#include "tests/support/tcp_server.h"

namespace sluice::test {
namespace {

class Lists : public testing::Test {
  protected:
    // Two versions of one second must differ in time, as they would for an operator.
    void write(const std::string& name, const std::string& text) {
        std::filesystem::create_directories((directory_.path() / name).parent_path());
        directory_.write(name, text);
        std::filesystem::last_write_time(
            directory_.path() / name,
            std::filesystem::file_time_type::clock::now() + std::chrono::seconds(++age_));
    }
    std::string path(const std::string& name) const { return (directory_.path() / name).string(); }
    std::string config() const {
        return "policy:\n  default: allow\n  lists:\n    - {name: ads, file: " + path("ads.txt") +
               ", format: domains, category: advertising}\n    - {name: ut1, folder: " + path("ut1") +
               ", format: ut1}\n  rules:\n    - {name: no-ads, list: ads, action: deny}\n"
               "    - {name: no-games, category: games, action: deny}\n"
               "    - {name: unknown, category: uncategorized, server_name: 'suffix:odd.example', action: "
               "allow}\n";
    }
    JsonRecord verdict(const std::string& server_name) {
        TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
        const auto source = client.local();
        client.send(build_hello({.server_name = server_name}));
        client.shutdown_write();
        client.receive_to_end();
        return gateway_->wait_for("verdict", source);
    }
    std::string decision(const std::string& server_name) {
        const JsonRecord line = verdict(server_name);
        return line.text("rule") + " " + line.text("list") + "/" + line.text("category") + " " +
               line.text("decision");
    }
    // The n-th one's line.
    JsonRecord reload() {
        gateway_->reload();
        ++reloads_;
        gateway_->wait_for("reload",
                           [&](const JsonRecord&) { return gateway_->count_lines("reload") == reloads_; });
        return gateway_->log_lines("reload").back();
    }

    void SetUp() override {
        write("ads.txt", "ads.example\none.example\ntwo.example\nthree.example\n");
        write("ut1/games/domains", "play.example\n");
        gateway_.emplace(lab_, config());
    }

    const Lab lab_;
    TcpServer server_{lab_.server(), 443, TcpServer::echo};
    TemporaryDirectory directory_;
    std::optional<Gateway> gateway_;
    int age_ = 0;
    std::size_t reloads_ = 0;
};

TEST_F(Lists, TheLogSaysByWhichListAndCategory) {
    EXPECT_EQ(gateway_->wait_for("ready").text("names"), "5");
    EXPECT_EQ(decision("www.ads.example"), "no-ads ads/advertising deny");
    EXPECT_EQ(decision("play.example"), "no-games ut1/games deny");
    EXPECT_EQ(decision("www.odd.example"), "unknown /uncategorized allow");
    EXPECT_EQ(decision("fine.example"), "default / allow");
    const JsonRecord end = gateway_->wait_for(
        "end", [](const JsonRecord& line) { return line.text("server_name") == "play.example"; });
    EXPECT_EQ(end.text("list"), "ut1");
    EXPECT_EQ(end.text("category"), "games");
}

TEST_F(Lists, AReloadReadsWhatHasChanged) {
    EXPECT_EQ(decision("new.example"), "default / allow");
    write("ads.txt", "one.example\ntwo.example\nthree.example\nnew.example\nnewer.example\n");
    const JsonRecord line = reload();
    EXPECT_EQ(line.text("result"), "ok");
    EXPECT_EQ(line.text("names"), "6");
    EXPECT_EQ(decision("new.example"), "no-ads ads/advertising deny");
    EXPECT_EQ(decision("ads.example"), "default / allow");
    EXPECT_EQ(decision("play.example"), "no-games ut1/games deny") << "this list has not changed";
    EXPECT_EQ(gateway_->count_lines("warning"), 0u);
}

TEST_F(Lists, AListThatChangesIsReadAgainWithoutAReloadAndTheRestOfTheFileIsNot) {
    gateway_->write_config("policy: {default: deny}\n");
    write("ads.txt", "one.example\ntwo.example\nthree.example\nnew.example\nnewer.example\n");
    EXPECT_EQ(gateway_->wait_for("lists").text("names"), "6");
    EXPECT_EQ(decision("new.example"), "no-ads ads/advertising deny");
    EXPECT_EQ(decision("ads.example"), "default / allow");
    write("ut1/games/domains", "play.example\nchess.example\n");
    gateway_->wait_for("lists", [](const JsonRecord& line) { return line.text("names") == "7"; });
    EXPECT_EQ(decision("chess.example"), "no-games ut1/games deny");
    EXPECT_EQ(gateway_->count_lines("reload"), 0u);
}

TEST_F(Lists, AListThatLostMostOfItsNamesOrIsBrokenKeepsTheLastGoodOneAndSaysSo) {
    const auto warns = [&](const std::string& text) {
        return gateway_->wait_for("warning",
                                  [&](const JsonRecord& line) { return line.text("what").contains(text); });
    };
    write("ads.txt", "ads.example\n");
    warns("ads.txt: error: expected at least half of the former 4 names, found 1; the last good one is kept");
    EXPECT_EQ(gateway_->wait_for("lists").text("names"), "5");
    EXPECT_EQ(decision("three.example"), "no-ads ads/advertising deny");
    // Again, from the list that was kept.
    write("ads.txt", "<html>\n<p>Not found\n");
    EXPECT_EQ(reload().text("names"), "5");
    warns("not of format domains");
    EXPECT_EQ(decision("three.example"), "no-ads ads/advertising deny");
    // Half of them is believed.
    write("ads.txt", "ads.example\nnew.example\n");
    EXPECT_EQ(reload().text("names"), "3");
    EXPECT_EQ(decision("three.example"), "default / allow");
    EXPECT_EQ(decision("new.example"), "no-ads ads/advertising deny");
}

TEST_F(Lists, WhileListsAreReplacedUnderLoadNoFlowIsJudgedWithoutThem) {
    std::atomic<bool> stop = false;
    std::atomic<int> wrong = 0;
    std::atomic<int> judged = 0;
    const auto ask = [&](const std::string& name, StreamEnd expected) {
        TcpSocket client = TcpSocket::connect(lab_.client(), Lab::server_v4(443));
        client.send(build_hello({.server_name = name}));
        client.shutdown_write();
        if (client.receive_to_end().end != expected) ++wrong;
        ++judged;
    };
    std::vector<std::jthread> clients;
    for (int i = 0; i < 2; ++i) {
        clients.emplace_back([&] {
            while (!stop) {
                ask("ads.example", StreamEnd::reset);
                ask("fine.example", StreamEnd::eof);
            }
        });
    }
    for (int round = 0; round < 20; ++round) {
        const int before = judged;
        write("ads.txt", round % 2 == 0 ? "ads.example\nfour.example\nfive.example\n"
                                        : "ads.example\none.example\ntwo.example\nthree.example\n");
        EXPECT_EQ(reload().text("names"), round % 2 == 0 ? "4" : "5");
        EXPECT_TRUE(wait_until([&] { return judged > before + 4; }));
    }
    stop = true;
    clients.clear();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(gateway_->count_lines("warning"), 0u);
}

TEST_F(Lists, APreparedFileSpeaksForAListThatIsBrokenAtTheStart) {
    const Finished prepared =
        gateway_->sluice({"lists", "prepare", "-c", gateway_->config_path(), "-o", path("lists.prepared")});
    ASSERT_EQ(prepared.exit_code, 0) << prepared.err;
    gateway_->stop();
    std::filesystem::remove(path("ads.txt"));
    std::string config = this->config();
    config.insert(config.find("  lists:\n"), "  prepared_lists: " + path("lists.prepared") + "\n");
    gateway_->write_config(config);
    gateway_->start();
    EXPECT_NE(gateway_->wait_for("warning").text("what").find("the last good one is kept"),
              std::string::npos);
    EXPECT_EQ(decision("www.ads.example"), "no-ads ads/advertising deny");
}

}  // namespace
}  // namespace sluice::test
