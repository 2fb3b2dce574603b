#include "policy/conditions.h"
#include "tests/unit/flow_facts.h"

#include <gtest/gtest.h>

#include "policy/conditions_file.h"

namespace sluice::policy {
namespace {

constexpr const char* sets_text = R"({
  names: {updates: ['suffix:debian.org', 'exact:a.example'], media: 'glob:*.media.example'},
  addresses: {lab: [10.1.0.0/16, 'fd00:1::/64'], one: 192.0.2.1},
  times: {office: {days: mon-fri, hours: '08:00-18:00', zone: Europe/Berlin}}
})";

Conditions conditions(const std::string& text) {
    NamedSets sets = read_sets(YamlReader::parse("sets", sets_text));
    YamlReader reader = YamlReader::parse("c", "{" + text + "}");
    return read_conditions(reader.mapping("conditions", condition_keys), sets);
}

bool holds(const std::string& text, const Facts& facts) {
    return conditions(text).hold(facts);
}

std::string error(const std::string& text) {
    try {
        conditions(text);
        return "accepted";
    } catch (const FileError& error) {
        return error.what();
    }
}

std::chrono::sys_seconds utc(int year, unsigned month, unsigned day, int hour, int minute) {
    using namespace std::chrono;
    return sys_days(std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day)) +
           hours(hour) + minutes(minute);
}

TEST(Conditions, AFlowWithoutANameCanBeAskedFor) {
    EXPECT_TRUE(holds("server_name: none", flow_facts(Protocol::tls)));
    EXPECT_TRUE(holds("server_name: none", flow_facts(Protocol::server_first)));
    EXPECT_FALSE(holds("server_name: none", flow_facts(Protocol::tls, "a.example")));
    EXPECT_TRUE(holds("server_name: [none, 'exact:a.example']", flow_facts(Protocol::tls, "a.example")));
    EXPECT_FALSE(holds("server_name: none", flow_facts(Protocol::malformed)));
}

TEST(Conditions, SetsStandForTheirEntries) {
    EXPECT_TRUE(holds("server_name: set:updates", flow_facts(Protocol::tls, "deb.debian.org")));
    EXPECT_TRUE(
        holds("server_name: ['set:media', 'exact:b']", flow_facts(Protocol::http, "a.media.example")));
    EXPECT_FALSE(holds("server_name: set:updates", flow_facts(Protocol::tls, "debian.org.example")));
    EXPECT_TRUE(
        holds("source: set:lab, destination: [set:one, 198.51.100.0/24]", flow_facts(Protocol::other)));
    EXPECT_FALSE(holds("source: set:one", flow_facts(Protocol::other)));
    EXPECT_EQ(
        error("source: set:labs"),
        "c:1:10: error: expected a set that sets: has under addresses:, found \"labs\" (did you mean lab?)");
    EXPECT_EQ(error("server_name: set:lab"),
              "c:1:15: error: expected a set that sets: has under names:, found \"lab\"");
}

TEST(Conditions, WhatTheHelloOffersCanBeAskedFor) {
    const std::vector<std::string> offers = {"h2", "http/1.1"};
    Facts tls = flow_facts(Protocol::tls, "a.example");
    EXPECT_TRUE(holds("alpn: none", tls));
    EXPECT_FALSE(holds("alpn: h2", tls));
    tls.alpn = offers;
    EXPECT_FALSE(holds("alpn: none", tls));
    EXPECT_TRUE(holds("alpn: [h3, http/1.1]", tls));
    tls.ja4 = "t13d1516h2_8daaf6152771_e5627efa2ab1";
    EXPECT_TRUE(holds("ja4: t13d1516h2_8daaf6152771_e5627efa2ab1", tls));
    EXPECT_TRUE(holds("ja4: ['q*', 't13*_8daaf6152771_*']", tls));
    EXPECT_FALSE(holds("ja4: t13d1516h2", tls));
    tls.ech = Ech::outer;
    EXPECT_TRUE(holds("ech: [grease, outer]", tls));
    EXPECT_FALSE(holds("ech: none", tls));
}

TEST(Conditions, OnlyTlsHasAHello) {
    for (Protocol protocol : {Protocol::http, Protocol::ssh, Protocol::server_first, Protocol::malformed}) {
        EXPECT_FALSE(holds("ech: none", flow_facts(protocol)));
        EXPECT_FALSE(holds("alpn: none", flow_facts(protocol)));
        EXPECT_FALSE(holds("ja4: '*'", flow_facts(protocol)));
    }
}

TEST(Conditions, HowAFlowCameCanBeAskedFor) {
    Facts facts = flow_facts(Protocol::ssh);
    EXPECT_TRUE(holds("via: captured", facts));
    EXPECT_FALSE(holds("via: [connect, socks5]", facts));
    facts.via = Via::socks5;
    EXPECT_TRUE(holds("via: [connect, socks5]", facts));
    EXPECT_FALSE(holds("via: captured", facts));
    EXPECT_EQ(error("via: proxy"), "c:1:7: error: expected captured, connect or socks5, found \"proxy\"");
}

TEST(Conditions, AnSshVersionIsAPatternOverTheWholeLine) {
    Facts ssh = flow_facts(Protocol::ssh);
    EXPECT_FALSE(holds("ssh_version: '*'", ssh));
    ssh.ssh_version = "2.0-OpenSSH_9.2p1 Debian-2";
    EXPECT_TRUE(holds("ssh_version: 2.0-OpenSSH_*", ssh));
    EXPECT_TRUE(holds("ssh_version: ['1.*', '*Debian*']", ssh));
    EXPECT_FALSE(holds("ssh_version: OpenSSH", ssh));
    EXPECT_FALSE(holds("ssh_version: '1.*'", ssh));
}

TEST(Conditions, TimesGoByTheClocksOfTheirZone) {
    Facts facts = flow_facts(Protocol::tls);
    facts.time = utc(2026, 7, 1, 6, 0);  // Wednesday, 08:00 in Berlin (summer)
    EXPECT_TRUE(holds("time: set:office", facts));
    facts.time = utc(2026, 1, 7, 6, 0);  // 07:00 (winter)
    EXPECT_FALSE(holds("time: set:office", facts));
    facts.time = utc(2026, 1, 7, 16, 59);
    EXPECT_TRUE(holds("time: set:office", facts));
    facts.time = utc(2026, 1, 7, 17, 0);
    EXPECT_FALSE(holds("time: set:office", facts));
    facts.time = utc(2026, 7, 4, 10, 0);  // Saturday
    EXPECT_FALSE(holds("time: set:office", facts));
    EXPECT_TRUE(holds("time: [set:office, {days: sat-sun, zone: UTC}]", facts));
}

TEST(Conditions, AtLeastOneOfAnyOfAndNothingUnderNotMustHold) {
    Facts facts = flow_facts(Protocol::tls, "www.example.com");
    EXPECT_TRUE(holds("not: {server_name: 'suffix:example.net'}", facts));
    EXPECT_FALSE(holds("not: {server_name: 'suffix:example.com'}", facts));
    // A mapping is a conjunction here, too.
    EXPECT_TRUE(holds("not: {server_name: 'suffix:example.com', port: 80}", facts));
    EXPECT_FALSE(holds("not: [{port: 443}, {server_name: 'exact:other'}]", facts));
    EXPECT_TRUE(holds("any_of: [{port: 80}, {source: 10.0.0.0/8}]", facts));
    EXPECT_FALSE(holds("any_of: [{port: 80}, {source: 10.2.0.0/16}]", facts));
    EXPECT_TRUE(holds("any_of: [{port: 443, not: {server_name: none}}], protocol: tls", facts));
    EXPECT_EQ(error("not: {not: {not: {not: {not: {port: 1}}}}}"),
              "c:1:31: error: expected at most 4 levels of not: and any_of:, found more");
    EXPECT_EQ(error("not: {}"), "c:1:7: error: expected at least one condition, found none");
}

TEST(Conditions, ANameThatNoListKnowsIsUncategorized) {
    Facts facts = flow_facts(Protocol::tls, "www.example.com");
    EXPECT_TRUE(holds("match: uncategorized", facts));
    facts.lists.add(7);
    EXPECT_FALSE(holds("match: uncategorized", facts));
    EXPECT_FALSE(holds("match: uncategorized", flow_facts(Protocol::tls)));
}

TEST(Conditions, MistakesSayWhatWasExpected) {
    EXPECT_EQ(error("ech: yes"), "c:1:7: error: expected none, grease or outer, found \"yes\"");
    EXPECT_EQ(error("alpn: ''"),
              "c:1:8: error: expected an ALPN protocol such as h2 (1 to 255 bytes), or none, found \"\"");
    EXPECT_EQ(error("ssh_version: []"),
              "c:1:15: error: expected an SSH version such as 2.0-OpenSSH_*, or a list of them, found an "
              "empty list");
    EXPECT_EQ(error("time: {zone: UTC}"),
              "c:1:8: error: expected days: or hours: in a time, found only its zone:");
    EXPECT_EQ(
        error("time: {days: mon}"),
        "c:1:8: error: expected zone: in a time (a mapping with zone:, and days: or hours:), or set:NAME, "
        "found none");
    EXPECT_EQ(error("time: {days: monday, zone: UTC}"),
              "c:1:15: error: expected a day (mon, tue, wed, thu, fri, sat, sun), or a range such as "
              "mon-fri, found "
              "\"monday\"");
    EXPECT_EQ(error("time: {hours: '8-18', zone: UTC}"),
              "c:1:16: error: expected hours such as 08:00-18:00 (in quotes where a list has them), found "
              "\"8-18\"");
    EXPECT_EQ(error("time: {days: mon, zone: ../../etc/passwd}"),
              "c:1:26: error: expected a time zone such as Europe/Berlin or UTC, found \"../../etc/passwd\"");
    EXPECT_EQ(error("time: {days: mon, zone: Europe/Atlantis}"),
              "c:1:26: error: expected a time zone such as Europe/Berlin or UTC, found \"Europe/Atlantis\", "
              "which is "
              "not in /usr/share/zoneinfo (package tzdata)");
    EXPECT_EQ(error("match: any"),
              "c:1:9: error: expected match: any to be a row's only condition, found others");
}

}  // namespace
}  // namespace sluice::policy
