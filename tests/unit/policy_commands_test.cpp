// `sluice policy` and `sluice import`, as an operator meets them: what is printed and the exit code.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "policy/policy_file.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/command_run.h"
#include "userspace/text/json_reader.h"

namespace sluice::cli {
namespace {

using Result = CommandResult;

class PolicyCommands : public testing::Test {
  protected:
    std::string write(const std::string& name, const std::string& text) const {
        return directory_.write(name, text);
    }
    std::string config(const std::string& name, const std::string& policy) const {
        return write(name, "capture: {interfaces: lan0}\npolicy:\n" + policy);
    }

    static Result run(std::vector<std::string> arguments) {
        const std::string state_directory;  // nothing here looks at live flows
        return run_command(
            [&](CLI::App& app, int& exit_code) {
                add_policy(app, state_directory, exit_code);
                add_import(app, exit_code);
                add_check(app, exit_code);
                add_explain(app, exit_code);
            },
            std::move(arguments));
    }

    // The policy in what a command wrote, read again.
    static policy::Policy read_back(const std::string& text) {
        auto mapping = policy::YamlReader::parse("out", text).mapping("a file", {"policy"});
        return policy::read_policy(mapping.at("policy"));
    }

    const test::TemporaryDirectory directory_;
};

constexpr const char* log_text =
    R"({"time":"2026-11-20T10:00:00.000Z","event":"start"}
{"time":"2026-11-20T10:00:01.000Z","event":"verdict","flow":1,"source":"10.0.0.7:40000","destination":"192.0.2.1:443","protocol":"tls","server_name":"www.example.co.uk","rule":"default","decision":"allow","alpn":["h2"],"ja4":"t13d1516h2_x_y","ech":"grease","records":1,"hello_bytes":517,"peek_ms":1.5}
{"time":"2026-11-20T10:00:02.000Z","event":"verdict","flow":2,"source":"10.0.0.7:40001","destination":"192.0.2.1:443","protocol":"tls","server_name":"cdn.example.co.uk","rule":"default","decision":"allow","ech":"none"}
{"time":"2026-11-20T10:00:03.000Z","event":"verdict","flow":3,"source":"10.0.0.8:40002","destination":"192.0.2.2:443","protocol":"tls","server_name":"one.example","rule":"default","decision":"allow","ech":"none"}
{"time":"2026-11-20T10:00:04.000Z","event":"verdict","flow":4,"source":"10.0.0.8:40003","destination":"192.0.2.2:443","protocol":"tls","server_name":"bad.example","rule":"no","decision":"deny","style":"reset","ech":"none"}
{"time":"2026-11-20T10:00:05.000Z","event":"verdict","flow":5,"source":"10.0.0.8:40004","destination":"192.0.2.9:22","protocol":"ssh","server_name":"","rule":"default","decision":"allow","ssh_version":"2.0-x"}
{"time":"2026-11-20T10:00:06.000Z","event":"verdict","flow":6,"source":"10.0.0.7:40005","destination":"192.0.2.1:443","protocol":"tls","server_name":"192.0.2.1","rule":"default","decision":"allow","ech":"none"}
{"time":"2026-11-20T10:00:07.000Z","event":"verdict","flow":7,"source":"10.0.0.7:40006","destination":"192.0.2.1:443","protocol":"tls","server_name":"github.io","rule":"default","decision":"allow","ech":"none"}
{"time":"2026-11-20T10:00:07.000Z","event":"verdict","flow":8,"source":"10.0.0.7:40006","destination":"192.0.2.1:443","protocol":"tls","server_name":"me.github.io","rule":"default","decision":"allow","ech":"none"}
{"time":"2026-11-20T10:00:08.000Z","event":"end","flow":1,"source":"10.0.0.7:40000","end":"closed"}
)";

TEST_F(PolicyCommands, DiffListsTheFlowsThatWouldBeJudgedDifferently) {
    const std::string before = config("old.yaml", "  {default: allow}\n");
    const std::string after = config(
        "new.yaml",
        "  default: allow\n  rules:\n"
        "  - {name: uk, server_name: 'suffix:co.uk', action: deny}\n"
        "  - {name: late, time: {hours: '10:00-11:00', days: fri, zone: UTC}, port: 22, action: deny}\n");
    const std::string log = write("log", log_text);
    const Result result = run({"policy", "diff", before, after, "--against", log});
    EXPECT_EQ(result.exit_code, 3);
    EXPECT_EQ(
        result.out,
        "      1  10.0.0.7 -> 192.0.2.1:443  tls  cdn.example.co.uk  allow by default => deny by uk  (last "
        "2026-11-20T10:00:02.000Z)\n"
        "      1  10.0.0.7 -> 192.0.2.1:443  tls  www.example.co.uk  allow by default => deny by uk  (last "
        "2026-11-20T10:00:01.000Z)\n"
        "      1  10.0.0.8 -> 192.0.2.9:22  ssh  -  allow by default => deny by late  (last "
        "2026-11-20T10:00:05.000Z)\n");
    EXPECT_EQ(result.err, "8 verdicts: 3 newly denied, 0 newly allowed, 0 denied in another way\n");
    const Result same = run({"policy", "diff", before, before, "--against", log});
    EXPECT_EQ(same.exit_code, 0);
    EXPECT_EQ(same.out, "");
}

TEST_F(PolicyCommands, DiffKnowsTheMacAddressesThatTheLogHas) {
    const std::string before = config("old.yaml", "  {default: allow}\n");
    const std::string after =
        config("new.yaml", "  default: allow\n  rules: [{name: a, mac: '02:00:5e', action: deny}]\n");
    const std::string log = write(
        "log",
        R"({"time":"2026-11-20T10:00:01.000Z","event":"verdict","flow":1,"source":"10.0.0.7:40000","mac":"02:00:5e:10:00:01","destination":"192.0.2.1:443","protocol":"tls","server_name":"a.example","rule":"default","decision":"allow"}
{"time":"2026-11-20T10:00:02.000Z","event":"verdict","flow":2,"source":"10.0.0.8:40000","mac":"02:00:5f:10:00:01","destination":"192.0.2.1:443","protocol":"tls","server_name":"a.example","rule":"default","decision":"allow"}
{"time":"2026-11-20T10:00:03.000Z","event":"verdict","flow":3,"source":"10.0.0.9:40000","destination":"192.0.2.1:443","protocol":"tls","server_name":"a.example","rule":"default","decision":"allow"}
)");
    EXPECT_EQ(run({"policy", "diff", before, after, "--against", log}).out,
              "      1  10.0.0.7 -> 192.0.2.1:443  tls  a.example  allow by default => deny by a  (last "
              "2026-11-20T10:00:01.000Z)\n");
}

TEST_F(PolicyCommands, DiffWithoutALogComparesRuleByRule) {
    const std::string before = config("old.yaml",
                                      "  default: allow\n  rules:\n"
                                      "  - {name: a, server_name: 'exact:A.com.', port: 443, action: deny}\n"
                                      "  - {name: b, port: 22, action: allow}\n");
    const std::string after = config("new.yaml",
                                     "  default: deny\n  rules:\n"
                                     "  - {name: b, port: 22, action: allow, log: false}\n"
                                     "  - {name: a, server_name: 'exact:a.com', port: 443, action: deny}\n");
    const Result result = run({"policy", "diff", before, after});
    EXPECT_EQ(result.exit_code, 3);
    EXPECT_EQ(result.out,
              "- b: port 22 -> allow\n"
              "+ b: port 22 -> allow, no log\n"
              "- default: any flow -> allow\n"
              "+ default: any flow -> deny (reset)\n");
    EXPECT_EQ(result.err, "rules that are in both stand in another order\n");
    EXPECT_EQ(run({"policy", "diff", before, before}).exit_code, 0);
    EXPECT_EQ(run({"policy", "diff", before, "/nowhere"}).exit_code, 1);
}

TEST_F(PolicyCommands, SuggestFoldsByRegistrableDomain) {
    const Result result = run({"policy", "suggest", "--from", write("log", log_text)});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const std::string body = result.out.substr(result.out.find("policy:"));
    EXPECT_EQ(body,
              "policy:\n"
              "  default: deny\n"
              "  rules:\n"
              "    - name: suggested-names\n"
              "      server_name:\n"
              "        - suffix:example.co.uk  # 2 names, 2 flows, last 2026-11-20T10:00:02.000Z\n"
              "        - exact:github.io  # 1 flow, last 2026-11-20T10:00:07.000Z\n"
              "        - exact:me.github.io  # 1 flow, last 2026-11-20T10:00:07.000Z\n"
              "        - exact:one.example  # 1 flow, last 2026-11-20T10:00:03.000Z\n"
              "      action: allow\n"
              "    - name: suggested-tls-443\n"
              "      protocol: tls\n"
              "      port: 443\n"
              "      server_name: none\n"
              "      destination:\n"
              "        - 192.0.2.1  # 1 flow, last 2026-11-20T10:00:06.000Z\n"
              "      action: allow\n"
              "    - name: suggested-ssh-22\n"
              "      protocol: ssh\n"
              "      port: 22\n"
              "      destination:\n"
              "        - 192.0.2.9  # 1 flow, last 2026-11-20T10:00:05.000Z\n"
              "      action: allow\n");
    EXPECT_NE(result.out.find("# Left out: 1 flow that had been denied"), std::string::npos) << result.out;
    EXPECT_EQ(read_back(result.out).rules().size(), 3u);
    EXPECT_NE(run({"policy", "suggest", "--denied-too", "--from", write("log", log_text)})
                  .out.find("exact:bad.example"),
              std::string::npos);
}

TEST_F(PolicyCommands, ASuggestionAllowsEveryFlowThatItWasMadeFrom) {
    const std::string log = write("log", log_text);
    const Result suggestion = run({"policy", "suggest", "--from", log, "--denied-too"});
    const std::string before = config("old.yaml", "  {default: allow}\n");
    const std::string after = write("new.yaml", "capture: {interfaces: lan0}\n" + suggestion.out);
    EXPECT_EQ(run({"policy", "diff", before, after, "--against", log}).exit_code, 0);
}

TEST_F(PolicyCommands, NothingIsSuggestedForNoFlows) {
    const Result result = run({"policy", "suggest", "--from", write("log", "")});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find("no flow that could be allowed"), std::string::npos) << result.err;
}

TEST_F(PolicyCommands, HostileTextInALogCannotLeaveItsPlace) {
    const std::string log =
        write("log",
              "{\"event\":\"verdict\",\"time\":\"\\u000a- x\",\"source\":\"10.0.0.1:1\",\"destination\":"
              "\"10.0.0.2:1\",\"protocol\":\"tls\",\"server_name\":\"a.example\",\"decision\":\"allow\"}\n"
              "not a line of the log\n");
    const Result result = run({"policy", "suggest", "--from", log});
    EXPECT_EQ(read_back(result.out).rules().size(), 1u) << result.out;
    EXPECT_EQ(result.err, "1 line are not of sluice's log\n");
}

TEST_F(PolicyCommands, ImportReadsTheAppliancesTable) {
    const std::string table = write("table.csv",
                                    "FQDN,Category,Action\r\n"
                                    "\"www\\.example\\.com; (.*\\.)?example\\.org\",,Allow Log\r\n"
                                    ".*\\.ads\\.example,Gambling;Adult Content,Deny No Log\r\n"
                                    "\"^cdn[0-9]{1,3}\\.example\\.net$\",,Allow No Log\r\n"
                                    "Uncategorized,,Deny Log\r\n"
                                    "ANY,,Deny No Log\r\n");
    const Result result = run({"import", "fqdn-profile", table, "--name", "egress"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.out.find(
                  "    - name: 'egress'\n      rows:\n"
                  "        - {server_name: ['exact:www.example.com', 'suffix:example.org'], action: allow}\n"
                  "        - {server_name: ['glob:**.ads.example'], action: deny, log: false}\n"
                  "        - {category: ['Gambling', 'Adult Content'], action: deny, log: false}\n"
                  "        - {server_name: ['re:cdn[0-9]{1,3}\\.example\\.net'], action: allow, log: false}\n"
                  "        - {match: uncategorized, action: deny}\n"
                  "        - {match: any, action: deny, log: false}\n"),
              std::string::npos)
        << result.out;
}

TEST_F(PolicyCommands, AnImportedTableWithCategoriesIsReadAndJudgedBy) {
    const std::string table = write("table.csv",
                                    "fqdn,category,action\n"
                                    "^ok\\.casino\\.example$,,Allow Log\n"
                                    ",Gambling;Adult Content,Deny No Log\n"
                                    "Uncategorized,,Deny Log\n"
                                    "ANY,,Allow Log\n");
    const Result imported = run({"import", "fqdn-profile", table});
    ASSERT_EQ(imported.exit_code, 0) << imported.err;
    const std::string file = write("sluice.yaml", "capture: {interfaces: lan0}\n" + imported.out);
    for (const char* category : {"Gambling", "Adult Content", "News"})
        std::filesystem::create_directories(directory_.path() / "categories" / category);
    write("categories/Gambling/domains", "casino.example\n");
    write("categories/News/domains", "paper.example\n");
    Result check = run({"check", "-c", file});
    EXPECT_EQ(check.exit_code, 1);
    EXPECT_NE(check.err.find("expected a category of some list, or uncategorized, found \"Adult Content\""),
              std::string::npos)
        << check.err;
    write("categories/Adult Content/domains", "adult.example\n");
    check = run({"check", "-c", file});
    EXPECT_EQ(check.exit_code, 0) << check.err;
    EXPECT_EQ(check.out, file + ": ok, 4 rules, 3 names in lists, default deny\n");
    const auto rule = [&](const char* name) {
        const std::string out = run({"explain", "-c", file, "--source", "10.0.0.1", "--destination",
                                     "192.0.2.1:443", "--server-name", name, "--json"})
                                    .out;
        return std::string(text::JsonFields::parse(out).value().text("rule"));
    };
    EXPECT_EQ(rule("ok.casino.example"), "imported/1");
    EXPECT_EQ(rule("www.casino.example"), "imported/2");
    EXPECT_EQ(rule("adult.example"), "imported/2");
    EXPECT_EQ(rule("paper.example"), "imported/any");
    EXPECT_EQ(rule("nobody.example"), "imported/uncategorized");
}

TEST_F(PolicyCommands, ImportWarnsOfWhatPcreHardlyMeant) {
    const std::string table = write("table.csv", "fqdn,action,log\nwww.example.com,Allow,No Log\n");
    const Result result = run({"import", "fqdn-profile", table});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err,
              table +
                  ":2:1: warning: \"www.example.com\" has no ^ and $: read as if it had, so that it matches "
                  "whole names only\n" +
                  table +
                  ":2:1: warning: \"www.example.com\" has an unescaped dot, which stands for any character: "
                  "read as a dot\n");
    const policy::Policy policy = read_back(result.out);
    EXPECT_EQ(policy.profiles().at(0).rows.at(0).when.server_names.at(0)->patterns().at(0).text(),
              "exact:www.example.com");
    EXPECT_FALSE(policy.profiles().at(0).rows.at(0).outcome.log);
    const Result anywhere = run({"import", "fqdn-profile", table, "--anywhere"});
    EXPECT_NE(anywhere.out.find("'re:.*(?:www.example.com).*'"), std::string::npos) << anywhere.out;
}

TEST_F(PolicyCommands, ImportOfWhatRe2CannotDoWritesNothing) {
    const std::string table =
        write("table.csv", "fqdn,action\n^(?!evil).*\\.example$,Allow Log\n^ok\\.example$,Allow Log\n");
    const Result result = run({"import", "fqdn-profile", table});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find(
                  table +
                  ":2:1: error: expected an RE2 regular expression, found a mistake: invalid perl operator"),
              std::string::npos)
        << result.err;
}

TEST_F(PolicyCommands, ImportReadsJsonToo) {
    const std::string table = write("table.json", R"({"name": "egress",
 "rows": [{"fqdns": ["^www\\.example\\.com$"], "categories": ["Sports"], "action": "Deny Log"}],
 "uncategorized": "Allow Log", "any": "Allow No Log"})");
    const Result result = run({"import", "fqdn-profile", table});
    EXPECT_EQ(result.err, table +
                              ": warning: has categories; put the names of each into "
                              "categories/CATEGORY/domains beside the configuration, or change lists:\n");
    EXPECT_NE(result.out.find("        - {server_name: ['exact:www.example.com'], action: deny}\n"
                              "        - {category: ['Sports'], action: deny}\n"
                              "        - {match: uncategorized, action: allow}\n"
                              "        - {match: any, action: allow, log: false}\n"),
              std::string::npos)
        << result.out;
}

TEST_F(PolicyCommands, ImportSaysWhereTheTableIsWrong) {
    const auto error = [&](const std::string& text) {
        return run({"import", "fqdn-profile", write("t", text)}).err;
    };
    const std::string file = directory_.path().string() + "/t";
    EXPECT_EQ(error(""), file + ":1:1: error: expected a table, found an empty file\n");
    EXPECT_EQ(
        error("fqdn,action\na,Perhaps\n"),
        file + ":2:3: error: expected Allow Log, Allow No Log, Deny Log or Deny No Log, found \"Perhaps\"\n");
    EXPECT_EQ(error("fqdn,colour\n"), file +
                                          ":1:6: error: expected the columns fqdn, category, action and log, "
                                          "each at most once, found \"colour\"\n");
    EXPECT_EQ(error("fqdn,action\n\"a,Allow\n"),
              file + ":2:1: error: expected a quote that ends this one, found the end of the file\n");
    EXPECT_EQ(error("fqdn,action,log\na,Allow,maybe\n"),
              file + ":2:9: error: expected Log or No Log, found \"maybe\"\n");
    EXPECT_EQ(error("fqdn,action,log\na,Allow Log,No Log\n"),
              file + ":2:3: error: expected Allow or Deny beside a column log, found \"Allow Log\"\n");
    EXPECT_EQ(error("fqdn,category,action\n,,Allow Log\n"),
              file + ":2:1: error: expected a name or a category in each row, found neither\n");
    EXPECT_NE(error("{\"rows\": [{\"action\": \"Allow Log\"}]}").find("in each row, found neither"),
              std::string::npos);
    EXPECT_EQ(error("{\"rows\": [{\"fqdns\": \"a\"}]}"),
              file + ":1:11: error: expected action: in a row, found none\n");
}

}  // namespace
}  // namespace sluice::cli
