// What is known of names' addresses, without a network.
#include "userspace/names/name_evidence.h"

#include <gtest/gtest.h>

namespace sluice::names {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

policy::IpAddress ip(const std::string& text) {
    return policy::IpAddress::parse(text).value();
}

std::vector<policy::IpAddress> ips(std::initializer_list<const char*> texts) {
    std::vector<policy::IpAddress> out;
    for (const char* text : texts)
        out.push_back(ip(text));
    return out;
}

class NameEvidenceTest : public testing::Test {
  protected:
    void answer(const std::vector<policy::IpAddress>& addresses, seconds ttl = seconds(60),
                const std::string& name = "www.example.com") {
        evidence_.answer({name, Family::v4}, addresses, ttl, NameEvidence::Source::asked, now_);
    }
    NameEvidence::View look(const char* address, const std::string& name = "www.example.com") {
        return evidence_.look({name, family_of(ip(address))}, ip(address), now_);
    }

    NameEvidence evidence_{{.names = 3, .addresses_of_name = 4, .addresses = 6}};
    Clock::time_point now_ = Clock::time_point(hours(1000));
};

TEST_F(NameEvidenceTest, NothingIsKnownOfANameThatNobodyAskedFor) {
    const auto known = look("192.0.2.1");
    EXPECT_FALSE(known.is_address);
    EXPECT_FALSE(known.is_answered);
    EXPECT_TRUE(known.may_ask);
    EXPECT_TRUE(known.addresses.empty());
}

TEST_F(NameEvidenceTest, AnAnswerIsGoodForItsTtlButForAWhileAtLeast) {
    answer(ips({"192.0.2.1"}), seconds(60));
    now_ += seconds(59);
    EXPECT_TRUE(look("192.0.2.1").is_current);
    now_ += seconds(1);
    EXPECT_FALSE(look("192.0.2.1").is_current);
    answer(ips({"192.0.2.1"}), seconds(0));
    now_ += ttl_min - seconds(1);
    EXPECT_TRUE(look("192.0.2.1").is_current);
    answer(ips({"192.0.2.1"}), seconds(2'000'000'000));
    now_ += ttl_max;
    EXPECT_FALSE(look("192.0.2.1").is_current);
    EXPECT_FALSE(look("192.0.2.1").is_address) << "no TTL keeps an address for ever";
}

TEST_F(NameEvidenceTest, AddressesThatRotateAddUpForTheGraceTime) {
    answer(ips({"192.0.2.1"}), seconds(1));
    now_ += minutes(30);
    answer(ips({"192.0.2.2"}), seconds(1));
    EXPECT_TRUE(look("192.0.2.1").is_address);
    EXPECT_TRUE(look("192.0.2.2").is_address);
    EXPECT_EQ(look("192.0.2.2").addresses, ips({"192.0.2.2", "192.0.2.1"})) << "the last seen first";
    now_ += minutes(30);
    EXPECT_FALSE(look("192.0.2.1").is_address) << "an hour is over";
    EXPECT_TRUE(look("192.0.2.2").is_address);
}

TEST_F(NameEvidenceTest, AnUnknownAddressIsAskedForAgainAndNotTooOften) {
    answer(ips({"192.0.2.1"}));
    EXPECT_TRUE(look("192.0.2.9").may_ask) << "the first answer may not have been all";
    answer(ips({"192.0.2.1"}));
    EXPECT_FALSE(look("192.0.2.9").may_ask) << "it was";
    now_ += ask_again_interval;
    EXPECT_TRUE(look("192.0.2.9").may_ask);
}

TEST_F(NameEvidenceTest, AServiceWithAnotherAddressEachTimeIsAskedInARowButNotForEver) {
    unsigned asked = 0;
    while (look("198.51.100.1").may_ask && asked < 1000)
        answer(ips({("192.0.2." + std::to_string(++asked % 250)).c_str()}));
    EXPECT_EQ(asked, questions_in_a_row_max);
    now_ += ask_again_interval;
    EXPECT_TRUE(look("198.51.100.1").may_ask);
}

TEST_F(NameEvidenceTest, NoAddressAndNoAnswerAreRememberedForAMoment) {
    answer({});
    EXPECT_TRUE(look("192.0.2.1").is_answered);
    EXPECT_FALSE(look("192.0.2.1").may_ask);
    now_ += negative_ttl;
    EXPECT_TRUE(look("192.0.2.1").may_ask);
    evidence_.fail({"www.example.com", Family::v4}, now_);
    EXPECT_FALSE(look("192.0.2.1").is_answered);
    EXPECT_FALSE(look("192.0.2.1").may_ask);
    now_ += failure_ttl;
    EXPECT_TRUE(look("192.0.2.1").may_ask);
}

TEST_F(NameEvidenceTest, AFailureTakesNothingAwayThatWasSeen) {
    answer(ips({"192.0.2.1"}), seconds(1));
    now_ += minutes(10);
    evidence_.fail({"www.example.com", Family::v4}, now_);
    EXPECT_TRUE(look("192.0.2.1").is_address);
}

TEST_F(NameEvidenceTest, WhatOthersWereToldIsAddedAndItsLackMeansNothing) {
    const Question question{"www.example.com", Family::v4};
    evidence_.answer(question, {}, seconds(60), NameEvidence::Source::overheard, now_);
    EXPECT_EQ(evidence_.names(), 0u);
    evidence_.answer(question, ips({"192.0.2.7"}), seconds(60), NameEvidence::Source::overheard, now_);
    EXPECT_TRUE(look("192.0.2.7").is_address);
    EXPECT_TRUE(look("192.0.2.8").may_ask) << "nobody asked for it here";
    EXPECT_FALSE(look("192.0.2.8").is_answered);
}

TEST_F(NameEvidenceTest, NamesAndAddressesAreBoundedAndTheLongestUnusedGo) {
    for (const char* name : {"a.example", "b.example", "c.example"})
        answer(ips({"192.0.2.1"}), seconds(60), name);
    EXPECT_TRUE(look("192.0.2.1", "a.example").is_address);
    answer(ips({"192.0.2.1"}), seconds(60), "d.example");
    EXPECT_EQ(evidence_.names(), 3u);
    EXPECT_TRUE(look("192.0.2.1", "a.example").is_address) << "it was used";
    EXPECT_FALSE(look("192.0.2.1", "b.example").is_address);

    answer(ips({"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"}), seconds(60), "d.example");
    EXPECT_EQ(look("192.0.2.1", "d.example").addresses.size(), 4u);
    answer(ips({"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}), seconds(60), "a.example");
    EXPECT_LE(evidence_.addresses(), 6u);
    EXPECT_EQ(look("192.0.2.4", "a.example").addresses.size(), 4u) << "the last answer stays";
    evidence_.clear();
    EXPECT_EQ(evidence_.names() + evidence_.addresses(), 0u);
}

TEST_F(NameEvidenceTest, AddressesThatLeadToTheGatewayItselfAreNoEvidence) {
    answer(ips({"127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.1", "255.255.255.255", "::1"}));
    EXPECT_TRUE(look("127.0.0.1").addresses.empty());
    EXPECT_TRUE(look("127.0.0.1").is_answered);
    for (const char* address : {"::", "::1", "fe80::1", "ff02::1", "::7f00:1"})
        EXPECT_FALSE(may_be_a_server(ip(address))) << address;
    for (const char* address : {"10.0.0.1", "192.168.1.1", "100.64.0.1", "2001:db8::1", "fd00::1"})
        EXPECT_TRUE(may_be_a_server(ip(address))) << address;
}

TEST_F(NameEvidenceTest, FamiliesAreApart) {
    answer(ips({"192.0.2.1", "2001:db8::1"}));
    EXPECT_TRUE(look("192.0.2.1").is_address);
    EXPECT_FALSE(look("2001:db8::1").is_address);
}

}  // namespace
}  // namespace sluice::names
