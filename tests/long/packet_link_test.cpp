// A gigabyte each way through the packet splice, over links that do each of the things that links do.
#include <gtest/gtest.h>

#include "tests/support/exchange.h"

namespace sluice::test {
namespace {

struct BadLink {
    const char* name;
    WireOptions wire;
};

class PacketLink : public testing::TestWithParam<BadLink> {};

INSTANTIATE_TEST_SUITE_P(That, PacketLink,
                         testing::Values(BadLink{"Loses", {.lost = 10}}, BadLink{"Reorders", {.late = 20}},
                                         BadLink{"Doubles", {.doubled = 10}},
                                         BadLink{"Damages", {.damaged = 10}},
                                         BadLink{"Takes100Ms", {.delay = 50ms}}),
                         [](const auto& link) { return std::string(link.param.name); });

TEST_P(PacketLink, CarriesAGigabyteEachWayUnchanged) {
    const Lab lab({.client_wire = GetParam().wire, .server_wire = WireOptions{}});
    Gateway gateway(lab, "splice: packet\npeek: {silence_ms: 100}\npolicy: {default: allow}\n");
    constexpr std::uint64_t bytes = 1'000'000'000;
    const Exchange exchange = exchange_streams(lab, gateway, bytes);
    EXPECT_TRUE(exchange.is_faithful(bytes));
    EXPECT_EQ(exchange.end.text("end"), "closed") << exchange.end;
    EXPECT_EQ(exchange.end.text("mode"), "packet") << exchange.end;
    EXPECT_EQ(exchange.end.number("bytes_up"), bytes);
    EXPECT_EQ(exchange.end.number("bytes_down"), bytes);
    const std::uint64_t noticed =
        lab.client().tcp_counter("InCsumErrors") + lab.server().tcp_counter("InCsumErrors");
    EXPECT_EQ(noticed > 0, GetParam().wire.damaged > 0);
}

}  // namespace
}  // namespace sluice::test
