#include "userspace/agent/recorded_facts.h"

#include <gtest/gtest.h>

#include <cstring>

#include "policy/policy_file.h"
#include "userspace/agent/rejudgement.h"

namespace sluice::agent {
namespace {

const MacOf nobody = [](const policy::IpAddress&) { return std::nullopt; };

flow_record record_of(const policy::Facts& facts, const std::string& text) {
    flow_record record{};
    record.source.is_v4 = record.destination.is_v4 = 1;
    const std::uint8_t client[] = {10, 0, 0, 7};
    std::memcpy(record.source.address, client, sizeof client);
    record.destination.port = 443;
    record.protocol = static_cast<std::uint8_t>(facts.protocol);
    facts.server_name.copy(record.server_name, sizeof record.server_name - 1);
    text.copy(record.facts, sizeof record.facts - 1);
    return record;
}

TEST(RecordedFacts, AreReadAsTheyWereWrittenWhateverBytesAreInThem) {
    std::string every_byte;
    for (int byte = 0; byte < 20; ++byte)
        every_byte += static_cast<char>(byte * 13);
    const std::vector<std::string> alpn{"h2", "http/1.1", ",", " =%", "a"};
    const policy::Facts facts{.source = {},
                              .destination = {},
                              .server_name = "www.example.com",
                              .ech = policy::Ech::grease,
                              .alpn = alpn,
                              .ja4 = "t13d1516h2_8daaf6152771_e5627efa2ab1",
                              .ssh_version = every_byte,
                              .via = policy::Via::socks5,
                              .asked_name = "asked.example"};
    const std::string text = facts_text(facts);
    ASSERT_FALSE(text.empty());
    const auto known = RecordedFacts::read(record_of(facts, text));
    ASSERT_TRUE(known);
    const policy::Facts read = known->facts();
    EXPECT_EQ(read.source.address.to_string(), "10.0.0.7");
    EXPECT_EQ(read.destination.port, 443);
    EXPECT_EQ(read.server_name, facts.server_name);
    EXPECT_EQ(read.ech, facts.ech);
    EXPECT_EQ(std::vector(read.alpn.begin(), read.alpn.end()), alpn);
    EXPECT_EQ(read.ja4, facts.ja4);
    EXPECT_EQ(read.ssh_version, facts.ssh_version);
    EXPECT_EQ(read.via, facts.via);
    EXPECT_EQ(read.asked_name, facts.asked_name);
}

TEST(RecordedFacts, WhetherAFlowAskedForItsServerNameOrForAnAddressIsKept) {
    policy::Facts facts{.source = {},
                        .destination = {},
                        .server_name = "www.example.com",
                        .via = policy::Via::connect,
                        .asked_name = "www.example.com"};
    flow_record record = record_of(facts, facts_text(facts));
    EXPECT_EQ(arrival_of(record).via, policy::Via::connect);
    EXPECT_EQ(arrival_of(record).asked_name, "www.example.com");
    EXPECT_EQ(RecordedFacts::read(record).value().facts().asked_name, "www.example.com");
    facts.asked_name = "";
    record = record_of(facts, facts_text(facts));
    EXPECT_EQ(arrival_of(record).via, policy::Via::connect);
    EXPECT_EQ(arrival_of(record).asked_name, "");
}

TEST(RecordedFacts, WhoSpokeFirstAndWhatIsStillToComeIsAmongThem) {
    const policy::Facts facts{.source = {},
                              .destination = {},
                              .server_name = {},
                              .ssh_server_version = "2.0-OpenSSH_9.2p1 \x1b",
                              .has_started_tls = true,
                              .client_was_silent = true,
                              .to_come = policy::ToCome::hello,
                              .mac = policy::MacAddress::parse("02:00:5e:10:00:01")};
    const auto known = RecordedFacts::read(record_of(facts, facts_text(facts)));
    ASSERT_TRUE(known);
    EXPECT_EQ(known->facts().ssh_server_version, facts.ssh_server_version);
    EXPECT_TRUE(known->facts().has_started_tls);
    EXPECT_TRUE(known->facts().client_was_silent);
    EXPECT_EQ(known->facts().to_come, policy::ToCome::hello);
    EXPECT_EQ(known->facts().mac, facts.mac);
}

TEST(RecordedFacts, WhatDoesNotFitIsNotKnownRatherThanKnownByHalf) {
    const std::vector<std::string> alpn(100, "h2");
    policy::Facts facts{.source = {}, .destination = {}, .server_name = {}, .alpn = alpn};
    EXPECT_EQ(facts_text(facts), "");
    EXPECT_FALSE(RecordedFacts::read(record_of(facts, "")));
    facts.alpn = {};
    EXPECT_EQ(facts_text(facts), "-");
    EXPECT_TRUE(RecordedFacts::read(record_of(facts, "-")));
    for (const char* broken :
         {"ech", "ech=often", "ja4=%", "ja4=%4", "ja4=%zz", "what=ever", "ja4=a b", "mac=", "mac=02:00:5e"})
        EXPECT_FALSE(RecordedFacts::read(record_of(facts, broken))) << broken;
}

TEST(RecordedFacts, AnAddressInANamesPlaceIsNoName) {
    const auto known =
        RecordedFacts::read(record_of({.source = {}, .destination = {}, .server_name = "192.0.2.1"}, "-"));
    ASSERT_TRUE(known);
    EXPECT_EQ(known->facts().server_name, "");
}

TEST(Rejudgement, APinnedFlowMustBeAllowedToWhereItGoesToo) {
    const policy::Policy policy = policy::read_policy(policy::YamlReader::parse(
        "f", "default: allow\nrules: [{name: no, destination: 192.0.2.9, action: deny}]\n"));
    flow_record flow = record_of({.source = {}, .destination = {}, .server_name = "www.example"}, "-");
    EXPECT_FALSE(rejudge(policy, policy::OnReload::re_evaluate, flow, {}, nobody).ends);
    flow.dialled = {.address = {192, 0, 2, 9}, .is_v4 = 1, .unused = 0, .port = 443};
    EXPECT_TRUE(rejudge(policy, policy::OnReload::re_evaluate, flow, {}, nobody).ends);
    EXPECT_EQ(rejudge(policy, policy::OnReload::re_evaluate, flow, {}, nobody).rule, "no");
}

TEST(Rejudgement, TheNeighbourTableIsAskedForAnAddressThatNobodyWantedToKnowBefore) {
    const policy::Policy policy = policy::read_policy(policy::YamlReader::parse(
        "f", "default: deny\nrules: [{name: a, mac: '02:00:5e:10:00:01', action: allow}]\n"));
    const policy::Policy without = policy::read_policy(policy::YamlReader::parse("f", "default: allow\n"));
    std::size_t asked = 0;
    const MacOf table = [&](const policy::IpAddress& client) {
        ++asked;
        EXPECT_EQ(client.to_string(), "10.0.0.7");
        return policy::MacAddress::parse("02:00:5e:10:00:01");
    };
    const auto ends = [](const policy::Policy& p, const char* facts, const MacOf& mac_of) {
        const flow_record flow = record_of({.source = {}, .destination = {}, .server_name = {}}, facts);
        return rejudge(p, policy::OnReload::re_evaluate, flow, {}, mac_of).ends;
    };
    EXPECT_FALSE(ends(without, "-", table));
    EXPECT_FALSE(ends(policy, "mac=02:00:5e:10:00:01", table));
    EXPECT_TRUE(ends(policy, "mac=02:00:5e:10:00:02", table)) << "what it was judged by stands";
    EXPECT_EQ(asked, 0u);
    EXPECT_FALSE(ends(policy, "-", table));
    EXPECT_EQ(asked, 1u);
    EXPECT_TRUE(ends(policy, "-", nobody));
}

TEST(Rejudgement, AFlowOfWhichNotAllIsKnownEnds) {
    const policy::Policy policy = policy::read_policy(policy::YamlReader::parse("f", "default: allow\n"));
    const flow_record unknown = record_of({.source = {}, .destination = {}, .server_name = {}}, "");
    EXPECT_FALSE(rejudge(policy, policy::OnReload::keep, unknown, {}, nobody).ends);
    EXPECT_TRUE(rejudge(policy, policy::OnReload::re_evaluate, unknown, {}, nobody).ends);
    EXPECT_FALSE(rejudge(policy, policy::OnReload::re_evaluate, unknown, {}, nobody).is_known);
    flow_record unjudged = unknown;
    unjudged.protocol = static_cast<std::uint8_t>(policy::Protocol::unknown);
    EXPECT_FALSE(rejudge(policy, policy::OnReload::kill, unjudged, {}, nobody).ends) << "it will be judged";
}

}  // namespace
}  // namespace sluice::agent
