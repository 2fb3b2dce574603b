#include "tests/support/plausible_names.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>

#include "policy/server_name.h"

namespace sluice::test {
namespace {

TEST(PlausibleNames, NoneComesTwiceWhereDifferentOnesAreAskedFor) {
    constexpr std::size_t count = 300'000;
    std::mt19937_64 random(1);
    DifferentNames different(count);
    std::set<std::string> names;
    for (std::size_t i = 0; i < count; ++i)
        names.insert(different.draw(random));
    EXPECT_EQ(names.size(), count);
    for (const std::string& name : names)
        ASSERT_EQ(policy::canonical_server_name(name), name);
    // Drawn without that care some do: else this test shows nothing.
    std::set<std::string> drawn;
    for (std::size_t i = 0; i < count; ++i)
        drawn.insert(plausible_name(random));
    EXPECT_LT(drawn.size(), count);
}

}  // namespace
}  // namespace sluice::test
