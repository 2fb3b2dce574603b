#include "policy/name_set_builder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "policy/name_groups.h"
#include "policy/name_staging.h"

namespace sluice::policy {
namespace {

// More do not make the code better.
constexpr std::size_t names_bytes_learnt_from = 20'000'000;
// How full the lines are made. Fuller ones give more names away to the next line.
constexpr double fill = 0.85;
constexpr unsigned attempts_max = 16;

NameSources sources_of(std::size_t list, NameReach reach) {
    NameSources sources;
    ListSet& set = reach == NameReach::subtree ? sources.subtree
                   : reach == NameReach::exact ? sources.exact
                                               : sources.except;
    set.add(list);
    return sources;
}

template <typename Visit>
void for_each_name(const std::vector<char>& names, std::size_t begin, std::size_t end, Visit visit) {
    for (std::size_t at = begin; at < end;) {
        const auto length = static_cast<unsigned char>(names[at]);
        visit(std::string_view(names.data() + at + 1, length));
        at += 1 + length;
    }
}

NameCode learn_code(const std::vector<char>& names) {
    NameCode::Statistics statistics;
    const std::uint64_t step = names.size() / names_bytes_learnt_from + 1;
    std::uint64_t number = 0;
    for_each_name(names, 0, names.size(), [&](std::string_view name) {
        if (number++ % step == 0) statistics.add(name);
    });
    return NameCode(statistics);
}

// About how many lines these names will take. Duplicates make it too high, hence a bit less in the key than a
// remainder has room for: lines may become half as many.
NameSpread first_spread(const NameCode& code, const std::vector<char>& names) {
    const std::size_t step = names.size() / names_bytes_learnt_from + 1;
    CodedName coded;
    std::uint64_t bits = 0;
    std::uint64_t number = 0;
    for_each_name(names, 0, names.size(), [&](std::string_view name) {
        if (number++ % step != 0) return;
        code.encode(name, coded);
        bits += coded.borders[coded.borders_count - 1].bits;
    });
    constexpr double bytes_beside_code = 3;
    const double bytes = static_cast<double>(bits) / 8 * static_cast<double>(step) +
                         static_cast<double>(number) * bytes_beside_code;
    double lines = std::max(bytes / (NameLine::bytes * fill), 1.0);
    // The key's bits are not in the lines.
    const double key_bytes = (std::log2(lines) + 10) / 8;
    lines = std::max((bytes - static_cast<double>(number) * key_bytes * 0.8) / (NameLine::bytes * fill), 1.0);
    const auto key_bits = NameLine::remainder_bits - 1 + static_cast<unsigned>(std::log2(lines));
    return NameSpread::of(std::min(key_bits, unsigned{NameKey::bits_max}), lines);
}

// Fills lines from the first to the last. What a line cannot hold waits for the next one.
class Lines {
  public:
    explicit Lines(NameSpread spread)
        : spread_(spread), bytes_((std::size_t{spread.lines} + NameLine::away_max) * NameLine::bytes) {}

    // False: too many names meet somewhere. REQUIRES the order of keys.
    bool add(std::uint64_t key, NameLine::Name name) {
        const auto home = static_cast<std::uint32_t>(key / spread_.keys_per_line);
        while (line_ < home) {
            if (!write_line()) return false;
        }
        name.remainder = static_cast<std::uint32_t>(key - std::uint64_t{home} * spread_.keys_per_line);
        waiting_.push_back({home, name});
        return true;
    }
    bool finish() {
        while (!waiting_.empty()) {
            if (line_ >= lines() || !write_line()) return false;
        }
        return true;
    }
    std::uint32_t lines() const { return static_cast<std::uint32_t>(bytes_.size() / NameLine::bytes); }
    std::span<const std::uint8_t> bytes() const { return bytes_; }
    const NameSpread& spread() const { return spread_; }

  private:
    struct Waiting {
        std::uint32_t home;
        NameLine::Name name;
    };

    // The oldest first, then whatever still fits.
    bool write_line() {
        std::vector<NameLine::Name>& names = names_;
        names.clear();
        std::size_t used = 1;
        std::erase_if(waiting_, [&](Waiting& waiting) {
            const std::size_t bytes = NameLine::bytes_of(waiting.name);
            if (used + bytes > NameLine::bytes || names.size() == NameLine::names_max) return false;
            used += bytes;
            waiting.name.away = line_ - waiting.home;
            names.push_back(waiting.name);
            // Of a line that is written already.
            std::uint8_t& first = bytes_[std::size_t{waiting.home} * NameLine::bytes];
            const std::uint32_t reach = std::min(waiting.name.away, 7u);
            if ((first & 7u) < reach) first = static_cast<std::uint8_t>((first & ~7u) | reach);
            return true;
        });
        std::uint8_t* const line = bytes_.data() + std::size_t{line_} * NameLine::bytes;
        NameLine::write(line, names, line[0] & 7u);
        ++line_;
        return waiting_.empty() || line_ - waiting_.front().home <= NameLine::away_max;
    }

    NameSpread spread_;
    std::vector<std::uint8_t> bytes_;
    std::uint32_t line_ = 0;
    std::vector<Waiting> waiting_;
    std::vector<NameLine::Name> names_;
};

// With the lines as full as they can be.
std::optional<Lines> fill_lines(const NameStaging& staging, std::span<const std::uint32_t> ranks,
                                NameSpread first) {
    std::uint64_t bytes = 0;
    staging.for_each([&](std::uint64_t, NameLine::Name name) {
        name.group = ranks[name.group];
        bytes += NameLine::bytes_of(name);
    });
    double wanted = std::max(static_cast<double>(bytes) / (NameLine::bytes * fill), 1.0);
    for (unsigned attempt = 0; attempt < attempts_max; ++attempt, wanted = wanted * 1.05 + 1) {
        const NameSpread spread = NameSpread::of(first.key_bits, wanted);
        Lines lines(spread);
        bool fits = true;
        staging.for_each([&](std::uint64_t key, NameLine::Name name) {
            name.group = ranks[name.group];
            fits = fits && lines.add(key, name);
        });
        if (fits && lines.finish()) return lines;
    }
    return std::nullopt;
}

struct LongNames {
    std::vector<std::uint32_t> index;
    std::vector<std::uint8_t> names;
};

LongNames index_long_names(const NameStaging& staging, std::span<const std::uint32_t> ranks,
                           const NameKeys& keys) {
    LongNames result;
    result.index.resize(std::bit_ceil(2 * staging.long_names().size() + 1));
    for (const auto& [code, group] : staging.long_names()) {
        CodedName coded;
        std::memcpy(coded.words.data(), code.data(), code.size());
        const auto last = static_cast<unsigned char>(code.back());
        const auto bits = static_cast<std::uint32_t>(code.size() * 8 - 9 + std::bit_width(unsigned{last}));
        std::uint64_t slot = keys.long_hash(coded, bits);
        while (result.index[slot & (result.index.size() - 1)] != 0)
            ++slot;
        result.index[slot & (result.index.size() - 1)] = static_cast<std::uint32_t>(result.names.size() + 1);
        for (const std::size_t number : {code.size(), std::size_t{ranks[group]}}) {
            result.names.push_back(static_cast<std::uint8_t>(number));
            result.names.push_back(static_cast<std::uint8_t>(number >> 8));
        }
        result.names.insert(result.names.end(), code.begin(), code.end());
    }
    return result;
}

NameSetMemory assemble(const NameCode& code, const NameStaging& staging, const NameGroups& groups,
                       NameSpread first, std::span<const std::byte> notes) {
    const std::vector<std::uint32_t> ranks = groups.ranks();
    const auto lines = fill_lines(staging, ranks, first);
    if (!lines) throw NameSetFull("expected names that spread evenly, found too many that do not");
    const LongNames long_names = index_long_names(staging, ranks, NameKeys(staging.seed(), first.key_bits));
    NameSetHeader header{};
    std::memcpy(header.magic, name_set_magic.data(), sizeof header.magic);
    header.version = name_set_version;
    header.groups = static_cast<std::uint32_t>(groups.size());
    header.seed = staging.seed();
    header.names = staging.names();
    header.labels_min = staging.labels_min();
    header.key_bits = first.key_bits;
    header.keys_per_line = lines->spread().keys_per_line;
    header.lines = lines->lines();
    header.long_slots = static_cast<std::uint32_t>(long_names.index.size());
    header.long_bytes = static_cast<std::uint32_t>(long_names.names.size());
    header.notes_bytes = notes.size();
    const NameSetPlan plan = NameSetPlan::of(header);
    header.bytes = plan.end;
    NameSetMemory memory(plan.end);
    const auto put = [&memory](std::size_t at, const auto& values) {
        if (!values.empty()) std::memcpy(memory.data() + at, values.data(), std::span(values).size_bytes());
    };
    std::vector<NameSources> sources(groups.size());
    for (std::uint32_t group = 0; group < groups.size(); ++group)
        sources[ranks[group]] = groups[group].sources;
    put(plan.lengths, code.lengths());
    put(plan.groups, sources);
    put(plan.lines, lines->bytes());
    put(plan.long_index, long_names.index);
    put(plan.long_names, long_names.names);
    put(plan.notes, notes);
    std::memcpy(memory.data(), &header, sizeof header);
    header.checksum = NameSet::checksum({memory.data(), memory.size()});
    std::memcpy(memory.data(), &header, sizeof header);
    return memory;
}

}  // namespace

void NameSetBuilder::add(std::string_view name, std::size_t list, NameReach reach) {
    if (names_bytes_.size() + name.size() + 1 > names_bytes_max)
        throw NameSetFull("expected lists of at most 1 GiB of names in all, found more");
    const auto number = static_cast<std::uint16_t>(list);
    if (runs_.empty() || runs_.back().list != number || runs_.back().reach != reach)
        runs_.push_back({names_bytes_.size(), number, reach});
    names_bytes_.push_back(static_cast<char>(name.size()));
    names_bytes_.insert(names_bytes_.end(), name.begin(), name.end());
}

NameSet NameSetBuilder::build(std::span<const std::byte> notes) {
    const std::vector<char> names = std::exchange(names_bytes_, {});
    const std::vector<Run> runs = std::exchange(runs_, {});
    const NameCode code = learn_code(names);
    const NameSpread spread = first_spread(code, names);
    NameStaging staging(code, spread);
    for_each_name(names, 0, names.size(), [&](std::string_view name) { staging.announce(name); });
    staging.make_room();
    NameGroups groups;
    groups.number(NameSources{});  // so that there always is one
    for (std::size_t i = 0; i < runs.size(); ++i) {
        const std::uint32_t group = groups.number(sources_of(runs[i].list, runs[i].reach));
        const std::size_t end = i + 1 < runs.size() ? runs[i + 1].begin : names.size();
        for_each_name(names, runs[i].begin, end, [&](std::string_view name) { staging.put(name, group); });
    }
    staging.merge(groups);
    auto set = NameSet::open(assemble(code, staging, groups, spread, notes));
    if (!set) throw std::logic_error("a set just made: " + set.error());
    return std::move(*set);
}

}  // namespace sluice::policy
