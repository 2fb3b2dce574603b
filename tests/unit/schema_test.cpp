// The JSON Schema for editors says yes to what the agent reads, and no to the mistakes that an editor can
// see.
#include <gtest/gtest.h>

#include "policy/conditions_file.h"
#include "tests/support/process.h"
#include "tests/support/temporary_directory.h"
#include "userspace/agent/config.h"

namespace sluice::test {
namespace {

const std::string schema_path = SLUICE_SOURCE_DIR "/packaging/sluice.schema.json";

Finished validate(const std::string& file) {
    return run_process({"python3", SLUICE_SOURCE_DIR "/tests/schema.py", schema_path, file});
}

constexpr const char* head = "capture: {interfaces: lan0}\npolicy:\n  default: deny\n";

// Every key of a policy at least once.
constexpr const char* everything =
    R"(capture: {interfaces: [lan0, lan1], ports: [443, 8000-8100], exclude: {sources: 10.0.0.1}}
proxy: {listen: ['10.0.0.1:3128', '[fd00::1]:3128'], from: 10.0.0.0/8}
peek: {silence_ms: 100}
splice: packet
dns: {servers: [192.0.2.53, '[2001:db8::1]:5353'], observe: 192.0.2.53}
policy:
  default: {action: deny, style: drop, log: false}
  malformed: deny
  verify: log
  on_reload: re-evaluate
  prepared_lists: /var/cache/lists.prepared
  lists:
    - {name: ads, file: ads.txt.gz, format: adblock, category: advertising}
    - {name: ut1, folder: /var/lib/ut1, format: ut1}
  sets:
    names: {updates: ['suffix:debian.org', 're:cdn[0-9]+\.example\.com'], one: 'exact:a.example'}
    addresses: {lab: [10.1.0.0/16, 'fd00:1::/64']}
    macs: {phones: [00:00:5e, 00-00-5E-90-00-00/28, 02:00:5e:10:00:01], one: '12:34:56:12:34:56'}
    times: {office: {days: mon-fri, hours: ['08:00-12:00', '13:00-18:00'], zone: Europe/Berlin}}
  profiles:
    - name: base
      enforce: false
      rows:
        - {name: first, server_name: [set:updates, none, 'glob:*.b.example'], source: set:lab, mac: [set:phones, 02:00:5e:10:00:02], action: allow, verify: pin}
        - {ech: [grease, outer], alpn: h2, ja4: 't13*', protocol: tls, via: [captured, connect, socks5], action: deny, style: alert}
        - {ssh_version: '2.0-*', time: [set:office, {days: [sat, sun], zone: UTC}], action: allow, log: false}
        - {match: uncategorized, action: deny}
        - {match: any, action: allow}
  groups:
    - {name: all, profiles: [base]}
  rules:
    - {name: hand over, port: [443, 80-90], not: {destination: 192.0.2.0/24, any_of: [{port: 443}]}, use: all}
    - {name: listed, list: ads, category: [games, uncategorized], not: {list: [ads, ut1]}, action: deny}
    - {name: smtp, protocol: [smtp, server-first, http, ssh, other], any_of: {source: 10.0.0.0/8}, action: allow, verify: enforce}
)";

TEST(Schema, TheShippedConfigurationFits) {
    const Finished result = validate(SLUICE_SOURCE_DIR "/packaging/sluice.yaml");
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
}

TEST(Schema, WhatTheAgentReadsFits) {
    const TemporaryDirectory directory;
    EXPECT_NO_THROW(agent::parse_config("everything", everything));
    const Finished result = validate(directory.write("everything.yaml", everything));
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
}

TEST(Schema, EveryConditionIsInIt) {
    const std::string schema = read_file(schema_path);
    for (const std::string_view key : policy::condition_keys)
        EXPECT_NE(schema.find("\"" + std::string(key) + "\":"), std::string::npos) << key;
}

TEST(Schema, MistakesDoNotFitAndTheAgentAgrees) {
    const TemporaryDirectory directory;
    for (const char* mistake : {
             "  rule: []\n",
             "  rules: [{name: a}]\n",
             "  rules: [{name: a, action: permit}]\n",
             "  rules: [{name: a, action: allow, style: drop}]\n",
             "  rules: [{name: a, server_name: example.com, action: allow}]\n",
             "  rules: [{name: a, port: [], action: allow}]\n",
             "  rules: [{name: a, port: 70000, action: allow}]\n",
             "  rules: [{name: a, mac: 00:00:5e/24, action: allow}]\n",
             "  rules: [{name: a, action: allow, use: b}]\n",
             "  rules: [{name: a, time: {days: monday, zone: UTC}, action: allow}]\n",
             "  rules: [{name: a, not: {}, action: allow}]\n",
             "  profiles: [{name: a/b, rows: []}]\n",
             "  lists: [{name: a, file: f, format: csv}]\n",
             "  lists: [{name: a, file: f, format: ut1}]\n",
             "  lists: [{name: a, folder: f, format: hosts}]\n",
             "  lists: [{name: a, folder: f, format: ut1, category: b}]\n",
             "  lists: [{name: a, file: f, format: hosts, category: uncategorized}]\n",
             "  prepared_lists: []\n",
             "  verify: maybe\n",
             "  rules: [{name: a, action: deny, verify: pin}]\n",
             "  malformed: {action: allow, verify: log}\n",
             "  rules: [{name: a, category: [], action: allow}]\n",
             "  profiles: [{name: a, rows: [{action: allow}]}]\n",
         }) {
        const std::string text = std::string(head) + mistake;
        EXPECT_THROW(agent::parse_config("mistake", text), policy::FileError) << mistake;
        EXPECT_EQ(validate(directory.write("mistake.yaml", text)).exit_code, 1) << mistake;
    }
}

TEST(Schema, EveryKeyOfCaptureIsInItAndOnlyFailsClosedForTheGatewaysOwnClients) {
    const TemporaryDirectory directory;
    for (const auto& [keys, exit_code] : {
             std::pair(
                 "interfaces: lan0, local: true, fail: closed, quic: allow, install: false, port: 15002, "
                 "mark: 0x20000000, routing_table: 15002",
                 0),
             std::pair("interfaces: lan0, local: false, fail: open", 0),
             std::pair("interfaces: lan0, local: true, fail: open", 1),
         }) {
        const std::string text = "capture: {" + std::string(keys) + "}\npolicy: {default: deny}\n";
        if (exit_code == 0) {
            EXPECT_NO_THROW(agent::parse_config("capture", text)) << keys;
        } else {
            EXPECT_THROW(agent::parse_config("capture", text), policy::FileError) << keys;
        }
        EXPECT_EQ(validate(directory.write("capture.yaml", text)).exit_code, exit_code) << keys;
    }
}

}  // namespace
}  // namespace sluice::test
