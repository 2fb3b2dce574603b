// How large, how fast to make, to load and to ask is a set of ten million names? Prints one JSON line.
//
//   name_set_bench SAMPLE.txt [NAMES]
//
// The names are those of SAMPLE (one a line), then others made of them: the left half of one name's first
// label before the right half of another's, so that lengths and letters stay those of real names. Each lookup
// is timed alone (rdtsc, less the cost of reading the clock), in random order over the whole set, half of all
// after another program's worth of memory has been walked through.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "policy/name_set_builder.h"

namespace {

using Clock = std::chrono::steady_clock;
using namespace sluice::policy;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<std::string> read_sample(const char* path) {
    std::ifstream file(path);
    std::vector<std::string> names;
    for (std::string line; std::getline(file, line);) {
        auto name = canonical_server_name(line);
        if (name) names.push_back(std::move(*name));
    }
    return names;
}

// The `round`-th variation of a sample's name; the first one is the name itself.
std::string variation(const std::vector<std::string>& sample, std::size_t number) {
    const std::size_t round = number / sample.size();
    const std::string& name = sample[number % sample.size()];
    if (round == 0) return name;
    const std::string& other = sample[(number * 2654435761u + round * 40503u) % sample.size()];
    const auto label = [](const std::string& text) { return text.substr(0, text.find('.')); };
    const std::string left = label(name);
    const std::string right = label(other);
    return left.substr(0, (left.size() + 1) / 2) + right.substr(right.size() / 2) + name.substr(left.size());
}

double percentile(std::vector<double>& values, double share) {
    auto at = values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
    std::ranges::nth_element(values, at);
    return *at;
}

struct Timing {
    double p50_ns, p99_ns, mean_ns;
    std::size_t known;
};

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

// `names`: what to ask, in that order. In one piece, as whoever asks has the name at hand.
Timing measure(const NameSet& set, const std::vector<std::string>& names, double tick_rate) {
    std::string text;
    std::vector<std::string_view> questions;
    for (const std::string& name : names)
        text += name;
    for (std::size_t at = 0; const std::string& name : names) {
        questions.push_back(std::string_view(text).substr(at, name.size()));
        at += name.size();
    }
    std::vector<double> times;
    times.reserve(questions.size());
    std::size_t known = 0;
    std::uint64_t overhead = ~std::uint64_t{0};
    for (int i = 0; i < 1000; ++i) {
        const std::uint64_t start = now_ticks();
        overhead = std::min(overhead, now_ticks() - start);
    }
    const auto all = Clock::now();
    for (std::string_view name : questions)
        known += !set.lookup(name).empty();
    const double mean = seconds_since(all) * 1e9 / static_cast<double>(questions.size());
    for (std::string_view name : questions) {
        const std::uint64_t start = now_ticks();
        known += !set.lookup(name).empty();
        times.push_back(static_cast<double>(now_ticks() - start - overhead) / tick_rate);
    }
    return {percentile(times, 0.5), percentile(times, 0.99), mean, known / 2};
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: name_set_bench SAMPLE.txt [NAMES]\n");
        return 2;
    }
    const std::size_t wanted = argc > 2 ? std::stoul(argv[2]) : 10'000'000;
    const std::vector<std::string> sample = read_sample(argv[1]);
    NameSetBuilder builder;
    std::mt19937_64 random(1);
    constexpr std::size_t questions_max = 1'000'000;
    std::vector<std::string> hits, misses;
    std::size_t name_bytes = 0;
    for (std::size_t i = 0; i < wanted; ++i) {
        const std::string name = variation(sample, i);
        name_bytes += name.size();
        builder.add(name, std::hash<std::string>()(name) % 64, NameReach::subtree);
        if (random() % wanted < questions_max) hits.push_back(name);
    }
    // The same kind of names, which nobody added; with a label more, as clients ask.
    for (std::size_t i = 0; i < questions_max; ++i) {
        std::string name = variation(sample, wanted + sample.size() + random() % (4 * sample.size()));
        misses.push_back((i % 2 == 0 ? "www." : "") + name);
    }
    std::ranges::shuffle(hits, random);
    const std::clock_t start = std::clock();
    const NameSet set = builder.build();
    const double build_s = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    const double rate = ticks_per_ns();
    Timing hit = measure(set, hits, rate);
    Timing miss = measure(set, misses, rate);
    fmt::print(
        "{{\"names\":{},\"average_bytes\":{:.1f},\"set_mb\":{:.1f},\"bytes_per_name\":{:.2f},\"build_s\":{:."
        "2f},"
        "\"hit_p50_ns\":{:.0f},\"hit_p99_ns\":{:.0f},\"hit_mean_ns\":{:.0f},\"hits_known\":{:.4f},"
        "\"miss_p50_ns\":{:.0f},\"miss_p99_ns\":{:.0f},\"miss_mean_ns\":{:.0f},\"misses_known\":{:.4f}}}\n",
        set.names(), static_cast<double>(name_bytes) / static_cast<double>(wanted),
        static_cast<double>(set.bytes()) / 1e6,
        static_cast<double>(set.bytes()) / static_cast<double>(set.names()), build_s, hit.p50_ns, hit.p99_ns,
        hit.mean_ns, static_cast<double>(hit.known) / static_cast<double>(hits.size()), miss.p50_ns,
        miss.p99_ns, miss.mean_ns, static_cast<double>(miss.known) / static_cast<double>(misses.size()));
    return 0;
}
