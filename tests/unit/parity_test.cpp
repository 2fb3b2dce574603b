// docs/policy.md says which test shows what: such a test exists.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

namespace {

const std::filesystem::path root = SLUICE_SOURCE_DIR;

std::string contents(const std::filesystem::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// "Suite.Name" of all tests of a level.
std::set<std::string> tests_of(const std::string& level) {
    const std::regex test(R"(TEST(?:_F|_P)?\((\w+),\s*(\w+)\))");
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(root / "tests" / level)) {
        const std::string text = contents(entry.path());
        for (std::sregex_iterator at(text.begin(), text.end(), test), end; at != end; ++at)
            names.insert((*at)[1].str() + "." + (*at)[2].str());
    }
    return names;
}

bool has(const std::set<std::string>& tests, std::string name) {
    if (!name.ends_with('*')) return tests.contains(name);
    name.pop_back();
    const auto at = tests.lower_bound(name);
    return at != tests.end() && at->starts_with(name);
}

TEST(Parity, EveryTestThatThePolicyTableNamesExists) {
    const std::set<std::string> unit = tests_of("unit");
    const std::set<std::string> system = tests_of("system");
    const std::string text = contents(root / "docs" / "policy.md");
    const std::regex named(R"((system )?`([A-Z]\w+\.[A-Z*]\w*\*?)`)");
    std::size_t seen = 0;
    for (std::sregex_iterator at(text.begin(), text.end(), named), end; at != end; ++at, ++seen) {
        const bool is_system = (*at)[1].matched;
        EXPECT_TRUE(has(is_system ? system : unit, (*at)[2])) << (*at)[0];
    }
    EXPECT_GT(seen, 50u);
}

}  // namespace
