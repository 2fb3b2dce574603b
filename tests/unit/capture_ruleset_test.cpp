// The text of the rules; what they do is tests/kernel/capture_test.cpp's.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "userspace/datapath/capture.h"
#include "userspace/datapath/dns_watch.h"

namespace sluice::datapath {
namespace {

CaptureConfig config_of_lan() {
    CaptureConfig config;
    config.interfaces = {"lan0"};
    return config;
}

std::string error_of(const CaptureConfig& config) {
    try {
        capture_ruleset(config);
    } catch (const CaptureError& error) {
        return error.what();
    }
    return "no error";
}

TEST(CaptureRuleset, ReplacesItsOwnTableAndNamesNoOther) {
    const std::string text = capture_ruleset(config_of_lan());
    EXPECT_TRUE(text.starts_with("table inet sluice {}\ndelete table inet sluice\ntable inet sluice {\n"))
        << text;
    EXPECT_EQ(text.find("flush"), std::string::npos);
}

TEST(CaptureRuleset, IsTheSameForTheSameConfigurationInAnyOrder) {
    CaptureConfig one = config_of_lan();
    one.interfaces = {"lan1", "lan0", "lan1"};
    one.ports = {{443, 443}, {25, 25}};
    one.exclude_sources = {*policy::Cidr::parse("10.0.0.0/8"), *policy::Cidr::parse("fd00::/8")};
    CaptureConfig other = one;
    std::swap(other.ports[0], other.ports[1]);
    std::swap(other.exclude_sources[0], other.exclude_sources[1]);
    other.interfaces = {"lan0", "lan1"};
    EXPECT_EQ(capture_ruleset(one), capture_ruleset(other));
}

TEST(CaptureRuleset, DropsWhatNoAgentTakesUnlessItFailsOpen) {
    CaptureConfig config = config_of_lan();
    EXPECT_NE(capture_ruleset(config).find("drop"), std::string::npos);
    config.fail_open = true;
    EXPECT_EQ(capture_ruleset(config).find("drop"), std::string::npos);
}

TEST(CaptureRuleset, HasOnlyTheSetsThatItUses) {
    const std::string plain = capture_ruleset(config_of_lan());
    EXPECT_EQ(plain.find("set "), plain.find("set meta mark")) << plain;
    CaptureConfig config = config_of_lan();
    config.exclude_destinations = {*policy::Cidr::parse("2001:db8::/32")};
    const std::string text = capture_ruleset(config);
    EXPECT_NE(text.find("ip6 daddr @exclude_destinations_v6 return"), std::string::npos) << text;
    EXPECT_EQ(text.find("exclude_destinations_v4"), std::string::npos) << text;
}

TEST(CaptureRuleset, BelievesNameServersOnlyWhereTheyAreReachedAndNeverAClient) {
    CaptureConfig config = config_of_lan();
    EXPECT_EQ(capture_ruleset(config).find("log group"), std::string::npos);
    config.observe = {*policy::IpAddress::parse("192.0.2.53"), *policy::IpAddress::parse("2001:db8::53")};
    const std::string text = capture_ruleset(config);
    const std::string way = "iifname != { \"lan0\" } oifname { \"lan0\" } meta l4proto 17 udp sport 53 ";
    const std::string reached = " fib saddr . iif oif exists log group 15001 snaplen 4096\n";
    EXPECT_NE(text.find(way + "ip saddr { 192.0.2.53 }" + reached), std::string::npos) << text;
    EXPECT_NE(text.find(way + "ip6 saddr { 2001:db8::53 }" + reached), std::string::npos) << text;
}

TEST(UdpPayload, IsReadFromWholeDatagramsOnly) {
    // IPv4 192.0.2.53:53 to 10.0.0.1:5300, "abc".
    std::vector<unsigned char> v4 = {0x45, 0, 0, 31, 0, 0,  0,    0,    64, 17, 0, 0, 192, 0,   2,  53,
                                     10,   0, 0, 1,  0, 53, 0x14, 0xb4, 0,  11, 0, 0, 'a', 'b', 'c'};
    const auto text = [](const std::vector<unsigned char>& packet) {
        const auto [data, bytes] = udp_payload(packet.data(), packet.size());
        return data == nullptr ? std::string("none") : std::string(data, data + bytes);
    };
    EXPECT_EQ(text(v4), "abc");
    for (std::size_t bytes = 0; bytes < v4.size(); ++bytes)
        EXPECT_EQ(text({v4.begin(), v4.begin() + static_cast<std::ptrdiff_t>(bytes)}), "none") << bytes;
    auto changed = v4;
    changed[6] = 0x20;
    EXPECT_EQ(text(changed), "none") << "a fragment";
    changed = v4;
    changed[9] = 6;
    EXPECT_EQ(text(changed), "none") << "TCP";
    changed = v4;
    changed[25] = 7;
    EXPECT_EQ(text(changed), "none") << "shorter than its own header";
    std::vector<unsigned char> v6(40, 0);
    v6[0] = 0x60;
    v6[6] = 17;
    v6.insert(v6.end(), v4.begin() + 20, v4.end());
    EXPECT_EQ(text(v6), "abc");
}

TEST(CaptureRuleset, RefusesAnInterfaceNameThatCouldBreakOutOfItsQuotes) {
    for (const char* name :
         {"", "lan0\" } accept; #", "a/b", "lan 0", "lan*", "line\nbreak", "longer-than-15-ch"}) {
        CaptureConfig config;
        config.interfaces = {name};
        EXPECT_NE(error_of(config).find("is no interface name"), std::string::npos) << name;
    }
}

TEST(CaptureRuleset, SaysWhatIsWrongWithTheConfiguration) {
    EXPECT_EQ(error_of({}), "capture: no interface is named");
    CaptureConfig config = config_of_lan();
    config.mark = 0x3;
    EXPECT_EQ(error_of(config), "capture: the mark must be a single bit");
    for (const std::uint32_t table : {0u, 253u, 255u, 32766u, 40000u}) {
        config = config_of_lan();
        config.routing_table = table;
        EXPECT_NE(error_of(config).find("capture: routing table " + std::to_string(table)),
                  std::string::npos);
    }
}

}  // namespace
}  // namespace sluice::datapath
