// The text of the rules; what they do is tests/kernel/capture_test.cpp's.
#include <gtest/gtest.h>

#include "userspace/datapath/capture.h"

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
