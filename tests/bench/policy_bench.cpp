// How long a policy takes to decide, and that it allocates nothing meanwhile.
//
//   policy_bench [RULES [DECISIONS [NAMES]]]
//
// Four policies of RULES (1,000) rules: each rule with names of its own; each with a source of its own; a
// mixture of all conditions; and a mixture with lists and categories, of NAMES (10,000,000) different names
// in 64 lists. Names and addresses are drawn at random, half of them match some rule. Exits 1 when deciding
// allocated memory, or there were fewer names.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "policy/name_set_builder.h"
#include "policy/policy_file.h"
#include "tests/support/counted_allocations.h"
#include "tests/support/plausible_names.h"

namespace {

using namespace sluice::policy;
using Random = std::mt19937_64;

std::size_t below(Random& random, std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
}

std::string address(std::size_t i) {
    return fmt::format("10.{}.{}.{}", i >> 16 & 255, i >> 8 & 255, i & 255);
}

std::string rule_by_name(std::size_t i) {
    return fmt::format(
        "server_name: ['suffix:site{}.example.com', 'exact:www.host{}.example', 'glob:*.cdn{}.example']", i,
        i, i);
}

std::string rule_by_source(std::size_t i) {
    return fmt::format("source: [{}, {}]", address(i * 7), address(i * 7 + 3));
}

std::string mixed_rule(std::size_t i) {
    switch (i % 5) {
        case 0:
            return rule_by_source(i) + fmt::format(", port: {}", 1000 + i);
        case 1:
            return rule_by_name(i) + ", time: {days: mon-sun, zone: UTC}";
        case 2:
            return fmt::format("server_name: 're:n[0-9]+\\.r{}\\.example', not: {{port: 80}}", i);
        case 3:
            return fmt::format("protocol: ssh, ssh_version: '2.0-x{}*', destination: {}", i, address(i));
        default:
            return fmt::format("alpn: p{}, ja4: 't13d{}*', server_name: 'suffix:j{}.example'", i, i, i);
    }
}

std::string listed_rule(std::size_t i) {
    switch (i % 10) {
        case 0:
            return fmt::format("list: list{}, source: 10.{}.0.0/16", i % 64, i % 256);
        case 5:
            return fmt::format("category: [category{}, category{}], port: [443, {}]", i % 16, (i + 3) % 16,
                               2000 + i);
        default:
            return mixed_rule(i);
    }
}

// Names in 64 lists of 16 categories. Puts one in so many into `asked`.
std::shared_ptr<const ListCatalog> make_lists(std::size_t count, std::size_t asked_of,
                                              std::vector<std::string>& asked) {
    std::vector<ListInfo> lists(64);
    for (std::size_t i = 0; i < lists.size(); ++i) {
        lists[i].list = fmt::format("list{}", i);
        lists[i].category = fmt::format("category{}", i % 16);
    }
    Random random(2);
    sluice::test::DifferentNames different(count);
    NameSetBuilder builder;
    for (std::size_t i = 0; i < count; ++i) {
        const std::string name = different.draw(random);
        builder.add(name, std::hash<std::string>()(name) % lists.size(), NameReach::subtree);
        if (below(random, count) < asked_of) asked.push_back(name);
    }
    NameSet names = builder.build(ListCatalog::notes_of(lists));
    fmt::print("{} different names in {:.0f} MB\n", names.names(), static_cast<double>(names.bytes()) / 1e6);
    return std::make_shared<const ListCatalog>(std::move(lists), std::move(names));
}

std::string lists_text() {
    std::string text = "lists:\n";
    for (int i = 0; i < 64; ++i)
        text +=
            fmt::format("- {{name: list{}, file: x, format: domains, category: category{}}}\n", i, i % 16);
    return text;
}

Policy policy_of(std::size_t rules, std::string (*rule)(std::size_t)) {
    std::string text = "default: deny\n" + lists_text() + "rules:\n";
    for (std::size_t i = 0; i < rules; ++i)
        text += fmt::format("- {{name: r{}, {}, action: allow}}\n", i, rule(i));
    return read_policy(YamlReader::parse("bench", text));
}

std::string random_name(Random& random, std::size_t rules) {
    const std::size_t i = below(random, rules * 2);
    switch (below(random, 4)) {
        case 0:
            return fmt::format("a.b.site{}.example.com", i);
        case 1:
            return fmt::format("www.host{}.example", i);
        case 2:
            return fmt::format("img.cdn{}.example", i);
        default:
            return fmt::format("n{}.r{}.example", i, i);
    }
}

std::vector<std::string> random_names(std::size_t rules, std::size_t count) {
    Random random(1);
    std::vector<std::string> names(count);
    std::ranges::generate(names, [&] { return random_name(random, rules); });
    return names;
}

bool measure(std::string_view title, const Policy& policy, std::size_t rules,
             const std::vector<std::string>& names) {
    using Clock = std::chrono::steady_clock;
    Random random(1);
    const std::size_t decisions = names.size();
    const std::vector<std::string> alpn = {"h2", "http/1.1"};
    std::vector<Facts> flows(decisions);
    for (std::size_t i = 0; i < decisions; ++i) {
        flows[i].source = {IpAddress::parse(address(below(random, rules * 14))).value(), 40000};
        flows[i].destination = {IpAddress::parse(address(below(random, rules))).value(), 443};
        flows[i].protocol = Protocol::tls;
        flows[i].server_name = names[i];
        flows[i].alpn = alpn;
        flows[i].ja4 = "t13d1516h2_8daaf6152771_e5627efa2ab1";
        flows[i].time = std::chrono::sys_seconds(std::chrono::seconds(1'800'000'000));
    }
    std::vector<std::int64_t> times(decisions);
    std::size_t allowed = 0;
    for (std::size_t i = 0; i < decisions; ++i)
        allowed += policy.judge(flows[i]).allowed();  // RE2 builds its automata
    const std::size_t before = sluice::test::allocations.load();
    for (std::size_t i = 0; i < decisions; ++i) {
        const auto begin = Clock::now();
        allowed += policy.judge(flows[i]).allowed();
        times[i] = (Clock::now() - begin).count();
    }
    const std::size_t made = sluice::test::allocations.load() - before;
    std::ranges::sort(times);
    fmt::print("{:<18} {:>6} rules  p50 {:>6} ns  p99 {:>6} ns  {:>3} % allowed  {} allocations\n", title,
               rules, times[decisions / 2], times[decisions * 99 / 100], allowed * 50 / decisions, made);
    return made == 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t rules = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000;
    const std::size_t decisions = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 100'000;
    const std::size_t listed = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 10'000'000;
    std::vector<std::string> names = random_names(rules, decisions);
    bool ok = measure("names", policy_of(rules, rule_by_name), rules, names);
    ok = measure("sources", policy_of(rules, rule_by_source), rules, names) && ok;
    ok = measure("all conditions", policy_of(rules, mixed_rule), rules, names) && ok;
    // Half of the flows ask for a name that is listed, or for one below it; in no order.
    std::vector<std::string> asked;
    const auto lists = make_lists(listed, decisions / 2, asked);
    ok = lists->names().names() == listed && ok;
    names.resize(decisions / 2);
    for (std::size_t i = 0; i < asked.size(); ++i)
        names.push_back((i % 2 == 0 ? "" : "a.") + asked[i]);
    std::ranges::shuffle(names, Random(3));
    ok = measure("all, and lists", policy_of(rules, listed_rule).with_lists(lists), rules, names) && ok;
    return ok ? 0 : 1;
}
