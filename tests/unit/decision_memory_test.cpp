// A decision costs no memory: hostile clients could otherwise make it cost much.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "policy/policy_file.h"
#include "tests/support/counted_allocations.h"
#include "tests/support/lists.h"

namespace sluice::policy {
namespace {

std::string rule(int i) {
    switch (i % 7) {
        case 0:
            return fmt::format("source: 10.{}.0.0/16, port: [443, {}]", i % 256, i + 1);
        case 1:
            return fmt::format("server_name: ['suffix:s{}.example', 'glob:*.g{}.example']", i, i);
        case 2:
            return fmt::format("server_name: 're:n[0-9]+\\.r{}\\.example', not: {{port: 80}}", i);
        case 3:
            return "category: [ads, uncategorized], time: {days: sun, zone: Europe/Berlin}";
        case 4:
            return fmt::format("ja4: 't13d{}*', alpn: [h3, none], any_of: [{{ech: outer}}, {{list: l0}}]", i);
        case 5:
            return fmt::format("mac: ['00:00:5e', '02:00:5e:00:{:02x}:{:02x}'], not: {{mac: '02:00:5f'}}",
                               i / 256, i % 256);
        default:
            return fmt::format("ssh_version: '2.0-x{}*'", i);
    }
}

TEST(DecisionMemory, AThousandRulesWithListsAndExpressionsAreDecidedWithoutAllocation) {
    ASSERT_GT(counts_allocations, 0);
    std::string text =
        "default: allow\nlists: [{name: l0, file: x, format: domains, category: ads}]\nrules:\n";
    for (int i = 0; i < 1000; ++i)
        text += fmt::format("- {{name: r{}, {}, action: deny}}\n", i, rule(i));
    const Policy policy = read_policy(YamlReader::parse("f", text))
                              .with_lists(test::make_lists({{"l0", "ads", {"ads.example", "more.example"}}}));
    const std::vector<std::string> alpn{"h2", "http/1.1"};
    Facts flow{.source = {}, .destination = {}, .protocol = Protocol::tls, .server_name = {}, .alpn = alpn};
    flow.ja4 = "t13d1516h2_8daaf6152771_e5627efa2ab1";
    flow.mac = MacAddress::parse("02:00:5e:10:00:01");
    flow.destination.port = 8443;
    const char* const names[] = {"www.ads.example", "n7.r9.example", "none.example", "a.s8.example", ""};
    std::size_t allowed = 0;
    const auto decide = [&] {
        for (const char* name : names) {
            flow.server_name = name;
            allowed += policy.judge(flow).allowed();
        }
    };
    decide();  // RE2 builds its automata, once, within bounds
    const std::size_t before = test::allocations;
    for (int i = 0; i < 100; ++i)
        decide();
    EXPECT_EQ(test::allocations - before, 0u);
    EXPECT_GT(allowed, 0u);
    EXPECT_LT(allowed, 505u);
    const std::string one_more(100, 'x');
    EXPECT_GT(test::allocations - before, 0u) << "nobody counts";
}

}  // namespace
}  // namespace sluice::policy
