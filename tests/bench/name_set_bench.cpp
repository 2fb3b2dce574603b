// How large, how fast to load and how fast to ask are lists of ten million names?
//
//   name_set_bench [NAMES [SAMPLE]]
//
// NAMES (10,000,000) different plausible names in 64 lists, each a file of a name a line; and, when it is
// given, SAMPLE besides: a list of that format with real names, which may be packed (.gz, .xz). Lists are
// loaded as the agent loads them, first from their files and then from a prepared one; both are in the page
// cache. Each lookup is timed alone (rdtscp, less the cost of reading the clock), of a million names in
// random order: names that are listed, and such that are not, by themselves or by a parent. Exits 1 when
// there were fewer different names than asked for, or a lookup was wrong or allocated memory.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "policy/list_catalog.h"
#include "tests/support/counted_allocations.h"
#include "tests/support/plausible_names.h"
#include "tests/support/temporary_directory.h"

namespace {

using namespace sluice::policy;
using Clock = std::chrono::steady_clock;
using Random = std::mt19937_64;

constexpr std::size_t lists_count = 64;
constexpr std::size_t questions_max = 1'000'000;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

double cpu_seconds() {
    return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

// "VmRSS", "VmHWM": in MB.
double memory_mb(std::string_view field) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(field)) return std::stod(line.substr(field.size() + 1)) * 1024 / 1e6;
    }
    return 0;
}

double ticks_per_ns() {
    const auto start = Clock::now();
    const std::uint64_t ticks = __builtin_ia32_rdtsc();
    while (seconds_since(start) < 0.05) {
    }
    return static_cast<double>(__builtin_ia32_rdtsc() - ticks) / (seconds_since(start) * 1e9);
}

std::uint64_t now_ticks() {
    unsigned core;
    return __builtin_ia32_rdtscp(&core);
}

ListSources plausible_lists(const sluice::test::TemporaryDirectory& directory, std::size_t names) {
    std::vector<std::string> texts(lists_count);
    Random random(2);
    sluice::test::DifferentNames different(names);
    for (std::size_t i = 0; i < names; ++i) {
        const std::string name = different.draw(random);
        texts[std::hash<std::string>()(name) % lists_count] += name + '\n';
    }
    ListSources sources;
    sources.file = directory.path() / "sluice.yaml";
    for (std::size_t i = 0; i < lists_count; ++i) {
        const std::string name = fmt::format("list{}", i);
        directory.write(name, texts[i]);
        sources.lists.push_back({.name = name, .path = name, .category = {}});
    }
    return sources;
}

// The same name as if somebody else had registered it: not even a parent of it is likely to be listed.
std::string unlisted(std::string name) {
    const std::size_t end = name.rfind('.');
    if (end == std::string::npos || end == 0) return "q" + name;
    const std::size_t dot = name.rfind('.', end - 1);
    return name.insert(dot == std::string::npos ? 0 : dot + 1, 1, 'q');
}

struct Questions {
    std::vector<std::string> listed, unlisted;
};

Questions questions_about(const NameSet& set) {
    Random random(1);
    Questions questions;
    set.for_each([&](std::string_view name, const NameSources&) {
        if (random() % set.names() < questions_max) questions.listed.emplace_back(name);
    });
    std::ranges::shuffle(questions.listed, random);
    for (const std::string& name : questions.listed) {
        std::string other = (random() % 2 == 0 ? "www." : "") + unlisted(name);
        if (set.lookup(other).empty()) questions.unlisted.push_back(std::move(other));
    }
    std::ranges::shuffle(questions.unlisted, random);
    return questions;
}

// `names`: what to ask, in that order. In one piece, as whoever asks has the name at hand.
bool measure(std::string_view title, const NameSet& set, const std::vector<std::string>& names, bool listed) {
    static const double tick_rate = ticks_per_ns();
    std::string text;
    std::vector<std::string_view> questions;
    for (const std::string& name : names)
        text += name;
    for (std::size_t at = 0; const std::string& name : names) {
        questions.push_back(std::string_view(text).substr(at, name.size()));
        at += name.size();
    }
    std::uint64_t overhead = ~std::uint64_t{0};
    for (int i = 0; i < 1000; ++i) {
        const std::uint64_t start = now_ticks();
        overhead = std::min(overhead, now_ticks() - start);
    }
    std::vector<std::uint64_t> times(questions.size());
    std::size_t known = 0;
    const std::size_t before = sluice::test::allocations;
    for (std::size_t i = 0; i < questions.size(); ++i) {
        const std::uint64_t start = now_ticks();
        known += !set.lookup(questions[i]).empty();
        times[i] = now_ticks() - start - overhead;
    }
    const std::size_t made = sluice::test::allocations - before;
    std::ranges::sort(times);
    const auto percentile = [&](std::size_t percent) {
        return static_cast<double>(times[(times.size() - 1) * percent / 100]) / tick_rate;
    };
    fmt::print("  {:<26} p50 {:>4.0f} ns  p99 {:>4.0f} ns  {} allocations\n", title, percentile(50),
               percentile(99), made);
    return known == (listed ? names.size() : 0) && made == 0;
}

// False: something was wrong with it. `names_min`: how many different ones there must be.
bool measure_lists(std::string_view title, ListSources sources, const std::string& prepared,
                   std::size_t names_min) {
    ::malloc_trim(0);  // what was freed before must not seem to be given back by the lists
    const double resident_before = memory_mb("VmRSS:");
    double cpu = cpu_seconds();
    auto start = Clock::now();
    LoadedLists loaded = load_lists(sources, nullptr);
    const double load_s = seconds_since(start);
    const double load_cpu_s = cpu_seconds() - cpu;
    const NameSet& set = loaded.catalog->names();
    double text_mb = 0;
    for (const ListInfo& info : loaded.catalog->lists())
        text_mb += static_cast<double>(info.file_bytes) / 1e6;
    fmt::print("{}: {} different names, {} lists, {:.0f} MB of files\n", title, set.names(),
               loaded.catalog->lists().size(), text_mb);
    fmt::print("  {:<26} {:.1f} MB, {:.2f} bytes a name; the process grew by {:.1f} MB\n", "in memory",
               static_cast<double>(set.bytes()) / 1e6,
               static_cast<double>(set.bytes()) / static_cast<double>(set.names()),
               memory_mb("VmRSS:") - resident_before);
    fmt::print("  {:<26} {:.2f} s, CPU {:.2f} s\n", "loaded from files", load_s, load_cpu_s);
    loaded.catalog->save(prepared);
    sources.prepared = prepared;
    const bool enough = set.names() >= names_min;
    loaded.catalog.reset();
    start = Clock::now();
    cpu = cpu_seconds();
    loaded = load_lists(sources, nullptr);
    fmt::print("  {:<26} {:.0f} ms, CPU {:.0f} ms\n", "loaded from a prepared file",
               seconds_since(start) * 1e3, (cpu_seconds() - cpu) * 1e3);
    for (const std::string& warning : loaded.warnings)
        fmt::print("  {}\n", warning);
    const Questions questions = questions_about(loaded.catalog->names());
    bool right = measure("lookup of a listed name", loaded.catalog->names(), questions.listed, true);
    right = measure("lookup of another name", loaded.catalog->names(), questions.unlisted, false) && right;
    if (!enough) fmt::print("  fewer different names than {}\n", names_min);
    if (!right) fmt::print("  a lookup was wrong, or allocated\n");
    return enough && right;
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t names = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 10'000'000;
    const sluice::test::TemporaryDirectory directory;
    const std::string prepared = directory.path() / "prepared";
    bool ok = measure_lists("plausible names", plausible_lists(directory, names), prepared, names);
    if (argc > 2) {
        ListSources sources;
        sources.file = directory.path() / "sluice.yaml";
        sources.lists = {{.name = "sample", .path = std::filesystem::absolute(argv[2]), .category = {}}};
        ok = measure_lists("sample", sources, prepared, 1) && ok;
    }
    return ok ? 0 : 1;
}
