#include "policy/name_set_builder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <utility>

namespace sluice::policy {
namespace {

// More do not make the code better.
constexpr std::size_t names_bytes_learnt_from = 20'000'000;
// How full the lines are made. Fuller ones give more names away to the next line.
constexpr double fill = 0.85;
constexpr unsigned attempts_max = 16;

std::uint64_t random_seed() {
    std::random_device device;
    return std::uint64_t{device()} << 32 | device();
}

struct Group {
    NameSources sources;
    std::uint64_t names = 0;
};

// The different sources that names have, numbered.
class Groups {
  public:
    std::uint32_t number(const NameSources& sources) {
        if (last_ < groups_.size() && groups_[last_].sources == sources) return last_;
        auto [found, is_new] = numbers_.emplace(sources, static_cast<std::uint32_t>(groups_.size()));
        if (is_new) {
            if (groups_.size() == NameLine::groups_max)
                throw NameSetFull("expected lists that share names in at most 65536 ways, found more");
            groups_.push_back({sources, 0});
        }
        return last_ = found->second;
    }
    // The number of what two of them are together.
    std::uint32_t both(std::uint32_t left, std::uint32_t right) {
        NameSources sources = groups_[left].sources;
        sources |= groups_[right].sources;
        return number(sources);
    }
    Group& operator[](std::uint32_t number) { return groups_[number]; }
    const Group& operator[](std::uint32_t number) const { return groups_[number]; }
    std::size_t size() const { return groups_.size(); }

    // New numbers, the smallest for the most frequent: those take one byte.
    std::vector<std::uint32_t> ranks() const {
        std::vector<std::uint32_t> order(groups_.size());
        std::iota(order.begin(), order.end(), 0u);
        std::ranges::sort(order, std::greater<>(),
                          [&](auto number) { return std::pair(groups_[number].names, number); });
        std::vector<std::uint32_t> ranks(order.size());
        for (std::uint32_t rank = 0; rank < order.size(); ++rank)
            ranks[order[rank]] = rank;
        return ranks;
    }

  private:
    std::vector<Group> groups_;
    std::map<NameSources, std::uint32_t> numbers_;
    std::uint32_t last_ = 0;
};

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

// A number of lines and how keys are spread over them.
struct Spread {
    unsigned key_bits;
    std::uint32_t keys_per_line;
    std::uint32_t lines;  // that keys lead to

    static Spread of(unsigned key_bits, double lines) {
        const std::uint64_t keys = std::uint64_t{1} << key_bits;
        Spread spread{key_bits, static_cast<std::uint32_t>(static_cast<double>(keys) / lines), 0};
        spread.keys_per_line = std::clamp(spread.keys_per_line, 1u, 1u << NameLine::remainder_bits);
        spread.lines = static_cast<std::uint32_t>((keys - 1) / spread.keys_per_line) + 1;
        return spread;
    }
};

// About how many lines these names will take. Duplicates make it too high, hence a bit less in the key than a
// remainder has room for: lines may become half as many.
Spread first_spread(const NameCode& code, const std::vector<char>& names) {
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
    return Spread::of(std::min(key_bits, unsigned{NameKey::bits_max}), lines);
}

// The names in the order of their keys, each once.
class Staging {
  public:
    Staging(const NameCode& code, Spread spread)
        : code_(code),
          spread_(spread),
          seed_(random_seed()),
          keys_(seed_, spread.key_bits),
          begin_(std::size_t{spread.lines} + 1),
          end_(spread.lines) {}

    // First every name is announced, then every name is put.
    void announce(std::string_view name) {
        place(name);
        if (is_long_) return;
        __builtin_prefetch(&begin_[bucket_ + 1], 1);
        announced_.push_back({bucket_ + 1, head_bytes + key_.rest_bytes});
        if (announced_.size() == batch) count_announced();
    }
    void make_room() {
        count_announced();
        std::inclusive_scan(begin_.begin(), begin_.end(), begin_.begin());
        std::copy(begin_.begin(), begin_.end() - 1, end_.begin());
        memory_ = NameSetMemory(begin_.back() + 1);
    }
    void put(std::string_view name, std::uint32_t group);
    // Of one name's entries, one remains; those of a bucket come into the order of their keys.
    void merge(Groups& groups);

    // Visits (key, NameLine::Name without its place) in the order of keys.
    template <typename Visit>
    void for_each(Visit visit) const {
        for (std::uint64_t bucket = 0; bucket < end_.size(); ++bucket) {
            for (std::uint64_t at = begin_[bucket]; at < end_[bucket];) {
                const Head entry = head(at);
                visit(bucket * spread_.keys_per_line + entry.remainder,
                      NameLine::Name{.remainder = 0,
                                     .away = 0,
                                     .group = entry.group,
                                     .rest_bytes = entry.rest_bytes,
                                     .rest = data() + at + head_bytes});
                at += head_bytes + entry.rest_bytes;
            }
        }
    }
    // Code with its end, and group.
    const std::map<std::string, std::uint32_t>& long_names() const { return long_names_; }

    std::uint64_t names() const { return names_; }
    std::uint64_t seed() const { return seed_; }
    std::uint32_t labels_min() const { return labels_min_; }

  private:
    struct Head {
        std::uint16_t remainder;
        std::uint16_t group;
        std::uint8_t rest_bytes;
    };
    static constexpr std::size_t head_bytes = sizeof(Head);

    Head head(std::uint64_t at) const {
        Head entry;
        std::memcpy(&entry, data() + at, sizeof entry);
        return entry;
    }
    // Names are put in batches, so that the caches' misses of one batch are waited for at once.
    static constexpr std::size_t batch = 32;
    struct Announced {
        std::uint64_t bucket;
        std::uint64_t bytes;
    };
    struct Waiting {
        std::uint64_t bucket;
        Head head;
        std::array<std::uint64_t, NameKey::rest_bytes_max / 8> rest;
    };
    void count_announced() {
        for (const Announced& name : announced_)
            begin_[name.bucket] += name.bytes;
        announced_.clear();
    }
    void put_waiting();

    void place(std::string_view name);
    void merge_bucket(std::uint64_t bucket, Groups& groups);
    std::uint8_t* data() const { return reinterpret_cast<std::uint8_t*>(memory_.data()); }

    const NameCode& code_;
    Spread spread_;
    std::uint64_t seed_;
    NameKeys keys_;
    std::vector<std::uint64_t> begin_;  // of each bucket, and the end of the last one
    std::vector<std::uint64_t> end_;    // of the entries in each bucket
    NameSetMemory memory_;
    std::map<std::string, std::uint32_t> long_names_;
    std::uint64_t names_ = 0;
    std::uint32_t labels_min_ = server_name_bytes_max;
    // Of the name placed last.
    CodedName coded_;
    std::uint32_t bits_ = 0;
    NameKey key_;
    std::uint64_t bucket_ = 0;
    bool is_long_ = false;
    std::vector<std::pair<std::string, std::uint32_t>> long_puts_;
    std::vector<Announced> announced_;
    std::vector<Waiting> waiting_;
    // For merge_bucket().
    struct Entry {
        Head head;
        const std::uint8_t* rest;

        bool is_same(const Entry& other) const {
            return head.remainder == other.head.remainder && head.rest_bytes == other.head.rest_bytes &&
                   std::memcmp(rest, other.rest, head.rest_bytes) == 0;
        }
        friend bool operator<(const Entry& left, const Entry& right) {
            if (left.head.remainder != right.head.remainder)
                return left.head.remainder < right.head.remainder;
            if (left.head.rest_bytes != right.head.rest_bytes)
                return left.head.rest_bytes < right.head.rest_bytes;
            return std::memcmp(left.rest, right.rest, left.head.rest_bytes) < 0;
        }
    };
    std::vector<Entry> entries_;
    std::vector<std::uint8_t> sorted_;
};

void Staging::place(std::string_view name) {
    code_.encode(name, coded_);
    bits_ = coded_.borders[coded_.borders_count - 1].bits;
    key_ = keys_.of(coded_, bits_);
    bucket_ = key_.key / spread_.keys_per_line;
    is_long_ = key_.rest_bytes > NameKey::rest_bytes_max;
    labels_min_ = std::min(labels_min_, static_cast<std::uint32_t>(coded_.borders_count));
}

void Staging::put(std::string_view name, std::uint32_t group) {
    place(name);
    if (is_long_) {
        std::string code(bits_ / 64 * 8 + 8, '\0');
        for (std::uint32_t i = 0; i <= bits_ / 64; ++i) {
            const std::uint64_t word = ended(coded_, bits_, i);
            std::memcpy(code.data() + i * 8, &word, sizeof word);
        }
        code.resize(bits_ / 8 + 1);
        long_puts_.emplace_back(std::move(code), group);
        return;
    }
    Head entry{};
    entry.remainder = static_cast<std::uint16_t>(key_.key - bucket_ * spread_.keys_per_line);
    entry.group = static_cast<std::uint16_t>(group);
    entry.rest_bytes = static_cast<std::uint8_t>(key_.rest_bytes);
    __builtin_prefetch(&end_[bucket_], 1);
    waiting_.push_back({bucket_, entry, {key_.rest[0], key_.rest[1], key_.rest[2]}});
    if (waiting_.size() == batch) put_waiting();
}

void Staging::put_waiting() {
    for (const Waiting& name : waiting_)
        __builtin_prefetch(data() + end_[name.bucket], 1);
    for (const Waiting& name : waiting_) {
        std::uint8_t* const to = data() + end_[name.bucket];
        std::memcpy(to, &name.head, head_bytes);
        std::memcpy(to + head_bytes, name.rest.data(), name.head.rest_bytes);
        end_[name.bucket] += head_bytes + name.head.rest_bytes;
    }
    waiting_.clear();
}

void Staging::merge(Groups& groups) {
    put_waiting();
    for (std::uint64_t bucket = 0; bucket < end_.size(); ++bucket)
        merge_bucket(bucket, groups);
    for (auto& [code, group] : std::exchange(long_puts_, {})) {
        auto [found, is_new] = long_names_.emplace(std::move(code), group);
        if (!is_new) found->second = groups.both(found->second, group);
    }
    for_each([&](std::uint64_t, const NameLine::Name& name) {
        ++names_;
        ++groups[name.group].names;
    });
    for (const auto& [code, group] : long_names_) {
        ++names_;
        ++groups[group].names;
    }
}

void Staging::merge_bucket(std::uint64_t bucket, Groups& groups) {
    entries_.clear();
    for (std::uint64_t at = begin_[bucket]; at < end_[bucket];) {
        const Head entry = head(at);
        entries_.push_back({entry, data() + at + head_bytes});
        at += head_bytes + entry.rest_bytes;
    }
    std::ranges::sort(entries_, [](const Entry& left, const Entry& right) { return left < right; });
    sorted_.clear();
    std::size_t last = 0;
    const Entry* before = nullptr;
    for (const Entry& entry : entries_) {
        if (before != nullptr && before->is_same(entry)) {
            Head kept;
            std::memcpy(&kept, sorted_.data() + last, head_bytes);
            kept.group = static_cast<std::uint16_t>(groups.both(kept.group, entry.head.group));
            std::memcpy(sorted_.data() + last, &kept, head_bytes);
            continue;
        }
        before = &entry;
        last = sorted_.size();
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(&entry.head);
        sorted_.insert(sorted_.end(), bytes, bytes + head_bytes);
        sorted_.insert(sorted_.end(), entry.rest, entry.rest + entry.head.rest_bytes);
    }
    std::ranges::copy(sorted_, data() + begin_[bucket]);
    end_[bucket] = begin_[bucket] + sorted_.size();
}

// Fills lines from the first to the last. What a line cannot hold waits for the next one.
class Lines {
  public:
    explicit Lines(Spread spread)
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
    const Spread& spread() const { return spread_; }

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

    Spread spread_;
    std::vector<std::uint8_t> bytes_;
    std::uint32_t line_ = 0;
    std::vector<Waiting> waiting_;
    std::vector<NameLine::Name> names_;
};

// With the lines as full as they can be.
std::optional<Lines> fill_lines(const Staging& staging, std::span<const std::uint32_t> ranks, Spread first) {
    std::uint64_t bytes = 0;
    staging.for_each([&](std::uint64_t, NameLine::Name name) {
        name.group = ranks[name.group];
        bytes += NameLine::bytes_of(name);
    });
    double wanted = std::max(static_cast<double>(bytes) / (NameLine::bytes * fill), 1.0);
    for (unsigned attempt = 0; attempt < attempts_max; ++attempt, wanted = wanted * 1.05 + 1) {
        const Spread spread = Spread::of(first.key_bits, wanted);
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

LongNames index_long_names(const Staging& staging, std::span<const std::uint32_t> ranks,
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

NameSetMemory assemble(const NameCode& code, const Staging& staging, const Groups& groups, Spread first,
                       std::span<const std::byte> notes) {
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
    const Spread spread = first_spread(code, names);
    Staging staging(code, spread);
    for_each_name(names, 0, names.size(), [&](std::string_view name) { staging.announce(name); });
    staging.make_room();
    Groups groups;
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
