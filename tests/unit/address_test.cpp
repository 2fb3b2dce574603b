#include "policy/address.h"

#include <gtest/gtest.h>

namespace sluice::policy {
namespace {

std::string round_trip(std::string_view text) {
    auto address = IpAddress::parse(text);
    return address ? address->to_string() : "rejected";
}

TEST(IpAddress, IsWrittenInTheCanonicalForm) {
    EXPECT_EQ(round_trip("192.0.2.1"), "192.0.2.1");
    EXPECT_EQ(round_trip("0.0.0.0"), "0.0.0.0");
    EXPECT_EQ(round_trip("255.255.255.255"), "255.255.255.255");
    EXPECT_EQ(round_trip("2001:DB8:0:0:0:0:0:1"), "2001:db8::1");
    EXPECT_EQ(round_trip("2001:db8:0:1:1:1:1:1"),
              "2001:db8:0:1:1:1:1:1");                             // RFC 5952 4.2.2: no :: for one field
    EXPECT_EQ(round_trip("2001:0:0:1:0:0:0:1"), "2001:0:0:1::1");  // RFC 5952 4.2.3: the longest run
    EXPECT_EQ(round_trip("::"), "::");
}

TEST(IpAddress, AMappedIpv4AddressIsThatIpv4Address) {
    for (const char* text : {"::ffff:192.0.2.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1"}) {
        EXPECT_EQ(IpAddress::parse(text), IpAddress::parse("192.0.2.1")) << text;
    }
    EXPECT_FALSE(IpAddress::parse("::192.0.2.1")->is_v4());
}

TEST(IpAddress, LookalikesAreRejected) {
    for (std::string_view text :
         {"", "1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "1.2.3.4 ", " 1.2.3.4", "0x1.2.3.4",
          "1.2.3.4/32", "[::1]", "fe80::1%eth0", ":::", "1::2::3", "::12345", "host"}) {
        EXPECT_FALSE(IpAddress::parse(text)) << text;
    }
    EXPECT_FALSE(IpAddress::parse(std::string_view("1.2.3.4\0x", 9)));
}

TEST(Endpoint, NeedsBracketsAroundIpv6AndOnlyThere) {
    EXPECT_EQ(Endpoint::parse("192.0.2.1:443")->to_string(), "192.0.2.1:443");
    EXPECT_EQ(Endpoint::parse("[2001:db8::1]:65535")->to_string(), "[2001:db8::1]:65535");
    EXPECT_EQ(Endpoint::parse("[::ffff:1.2.3.4]:1")->to_string(), "1.2.3.4:1");
    for (std::string_view text :
         {"", ":", "192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:-1", "192.0.2.1:+1",
          "192.0.2.1:0443", "192.0.2.1: 443", "2001:db8::1:443", "[192.0.2.1]:443", "[::1]", "[::1]443",
          "[::1:443", "::1]:443", "host:443"}) {
        EXPECT_FALSE(Endpoint::parse(text)) << text;
    }
}

bool holds(std::string_view cidr, std::string_view address) {
    return Cidr::parse(cidr).value().contains(IpAddress::parse(address).value());
}

TEST(Cidr, HoldsItsAddressesAndNoOthers) {
    EXPECT_TRUE(holds("10.0.0.0/8", "10.255.255.255"));
    EXPECT_FALSE(holds("10.0.0.0/8", "11.0.0.0"));
    EXPECT_TRUE(holds("192.0.2.128/25", "192.0.2.128"));
    EXPECT_FALSE(holds("192.0.2.128/25", "192.0.2.127"));
    EXPECT_TRUE(holds("192.0.2.1", "192.0.2.1"));
    EXPECT_FALSE(holds("192.0.2.1", "192.0.2.2"));
    EXPECT_TRUE(holds("0.0.0.0/0", "203.0.113.9"));
    EXPECT_TRUE(holds("2001:db8::/33", "2001:db8:7fff::1"));
    EXPECT_FALSE(holds("2001:db8::/33", "2001:db8:8000::1"));
    EXPECT_TRUE(holds("::/0", "2001:db8::1"));
}

TEST(Cidr, OneFamilyNeverHoldsTheOther) {
    EXPECT_FALSE(holds("0.0.0.0/0", "2001:db8::1"));
    EXPECT_FALSE(holds("::/0", "192.0.2.1"));
}

TEST(Cidr, AMappedPrefixCannotBeUsedToSideStepARule) {
    EXPECT_EQ(Cidr::parse("::ffff:10.0.0.0/104")->to_string(), "10.0.0.0/8");
    EXPECT_TRUE(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
    EXPECT_TRUE(holds("::ffff:0:0/96", "10.1.2.3"));
    EXPECT_FALSE(Cidr::parse("::ffff:0:0/95"));
}

TEST(Cidr, HostBitsAreAMistakeAndNotRoundedAway) {
    for (std::string_view text : {"10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/08",
                                  "10.0.0.0/8/8", "/8", "2001:db8::1/64", "::/129", "10/8", "0.0.0.1/0"}) {
        EXPECT_FALSE(Cidr::parse(text)) << text;
    }
    EXPECT_EQ(Cidr::parse("10.0.0.1/32")->to_string(), "10.0.0.1/32");
    EXPECT_EQ(Cidr::parse("10.0.0.1")->to_string(), "10.0.0.1/32");
    EXPECT_EQ(Cidr::parse("2001:DB8::1")->to_string(), "2001:db8::1/128");
}

TEST(PortRange, TakesOnePortOrAnAscendingRange) {
    EXPECT_EQ(PortRange::parse("443")->to_string(), "443");
    EXPECT_EQ(PortRange::parse("1-65535")->to_string(), "1-65535");
    EXPECT_TRUE(PortRange::parse("8000-8100")->contains(8000));
    EXPECT_TRUE(PortRange::parse("8000-8100")->contains(8100));
    EXPECT_FALSE(PortRange::parse("8000-8100")->contains(7999));
    EXPECT_FALSE(PortRange::parse("8000-8100")->contains(8101));
    for (std::string_view text : {"", "0", "65536", "99999999999999999999", "-1", "1-", "-", "2-1", "0-5",
                                  "1-2-3", "1 - 2", "0443", "0x50", "https"}) {
        EXPECT_FALSE(PortRange::parse(text)) << text;
    }
}

}  // namespace
}  // namespace sluice::policy
