#include "userspace/tls/server_name.h"

#include <gtest/gtest.h>

#include <cctype>
#include <vector>

namespace sluice::tls {
namespace {

using namespace std::string_view_literals;

// The normalized name, or "!" when it is refused.
std::string normalized(std::string_view sent) {
    std::string name;
    return normalize_server_name(sent, name).empty() ? name : "!";
}

TEST(ServerName, IsComparedInLowerCaseWithoutItsTrailingDot) {
    EXPECT_EQ(normalized("WWW.Example.COM"), "www.example.com");
    EXPECT_EQ(normalized("www.example.com."), "www.example.com");
    EXPECT_EQ(normalized("localhost"), "localhost");
    EXPECT_EQ(normalized("_dmarc.xn--bcher-kva.example"), "_dmarc.xn--bcher-kva.example");
    EXPECT_EQ(normalized("1e100.net"), "1e100.net");
}

TEST(ServerName, WithAnyOtherByteIsRefused) {
    for (int c = 0; c < 256; ++c) {
        std::string name = "a" + std::string(1, static_cast<char>(c)) + "b";
        bool allowed = (c < 128 && std::isalnum(c) != 0) || c == '-' || c == '_' || c == '.';
        EXPECT_EQ(normalized(name) != "!", allowed) << c;
    }
    EXPECT_EQ(normalized("allowed.example\0.denied.example"sv), "!");
    EXPECT_EQ(normalized("b\xc3\xbc"
                         "cher.example"),
              "!");
}

TEST(ServerName, WithAnEmptyLabelIsRefused) {
    for (std::string_view name : {"", ".", "..", ".example.com", "www..com", "www.example.com.."}) {
        EXPECT_EQ(normalized(name), "!") << name;
    }
}

TEST(ServerName, LongerThanDnsAllowsIsRefused) {
    std::string label(63, 'a');
    EXPECT_EQ(normalized(label + ".example"), label + ".example");
    EXPECT_EQ(normalized(label + "a.example"), "!");
    std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
    ASSERT_EQ(longest.size(), 253);
    EXPECT_EQ(normalized(longest), longest);
    EXPECT_EQ(normalized(longest + "."), longest);
    EXPECT_EQ(normalized(longest + "b"), "!");
}

TEST(ServerName, IsAnAddressInEveryFormThatClientsSend) {
    for (std::string_view name : {"192.0.2.1", "192.0.2.1.", "0.0.0.0", "010.001.000.255", "2001:db8::1",
                                  "::", "[2001:db8::1]", "::ffff:192.0.2.1", "2001:DB8:0:0:0:0:0:1"}) {
        EXPECT_TRUE(is_address(name)) << name;
    }
}

TEST(ServerName, IsNoAddressWhenItOnlyLooksLikeOne) {
    for (std::string_view name :
         {""sv, "192.0.2"sv, "192.0.2.256"sv, "192.0.2.1.example"sv, "192.0.2.1.1"sv, "1.2.3.4a"sv, "::1::"sv,
          "[::1"sv, "::1]"sv, "[192.0.2.1]"sv, "fe80::1%eth0"sv, "::1\0"sv, "1..2.3"sv}) {
        EXPECT_FALSE(is_address(name)) << name;
    }
}

}  // namespace
}  // namespace sluice::tls
