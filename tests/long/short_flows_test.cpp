// What shows only in very many flows.
#include <gtest/gtest.h>

#include "tests/support/gateway.h"
#include "tests/support/short_flows.h"

namespace sluice::test {
namespace {

TEST(ShortFlows, TwoHundredThousandOnPortsUsedAgainMisfitNoMoreThanWhenForwarded) {
    constexpr unsigned flows = 200'000;
    std::string forwarded;
    {
        const Lab lab;
        EXPECT_EQ(run_short_flows(lab, 7000, flows), flows);
        forwarded = misfits(lab);
    }
    const Lab lab;
    Gateway gateway(lab, "peek: {silence_ms: 100}\npolicy: {default: {action: allow, log: false}}\n");
    EXPECT_EQ(run_short_flows(lab, 7000, flows), flows);
    EXPECT_EQ(misfits(lab), forwarded);
}

}  // namespace
}  // namespace sluice::test
