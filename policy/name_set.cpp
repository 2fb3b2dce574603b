#include "policy/name_set.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

namespace sluice::policy {
namespace {

constexpr std::size_t large_page_bytes = 2 << 20;
constexpr std::size_t section_alignment = 64;
// Whoever decodes may read so much behind a code.
constexpr std::size_t reading_padding = 8;
constexpr std::size_t checked_from = offsetof(NameSetHeader, checksum) + sizeof(NameSetHeader::checksum);
static_assert(std::endian::native == std::endian::little, "prepared files are little-endian");
static_assert(checked_from % 8 == 0);

std::uint64_t load(const void* from) {
    std::uint64_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
}

std::size_t aligned(std::size_t bytes) {
    return (bytes + section_alignment - 1) / section_alignment * section_alignment;
}

std::string bad(std::string_view what) {
    return "expected a prepared list file, found one that is " + std::string(what);
}

}  // namespace

// --- memory

NameSetMemory::NameSetMemory(std::size_t bytes) : size_(bytes) {
    const std::size_t whole =
        (std::max<std::size_t>(bytes, 1) + large_page_bytes - 1) / large_page_bytes * large_page_bytes;
    void* data = ::mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) throw std::bad_alloc();
    ::madvise(data, whole, MADV_HUGEPAGE);  // a wish: small pages do as well, only slower
    data_ = std::unique_ptr<std::byte, Unmap>(static_cast<std::byte*>(data), Unmap{whole});
}

void NameSetMemory::Unmap::operator()(std::byte* data) const {
    ::munmap(data, bytes);
}

// --- format

NameSetPlan NameSetPlan::of(const NameSetHeader& header) {
    NameSetPlan plan{};
    plan.lengths = aligned(sizeof(NameSetHeader));
    plan.groups = aligned(plan.lengths + NameCode::lengths_bytes);
    plan.lines = aligned(plan.groups + header.groups * sizeof(NameSources));
    plan.long_index = plan.lines + std::size_t{header.lines} * NameLine::bytes;
    plan.long_names = aligned(plan.long_index + std::size_t{header.long_slots} * sizeof(std::uint32_t));
    plan.notes = aligned(plan.long_names + header.long_bytes + reading_padding);
    plan.end = plan.notes + header.notes_bytes;
    return plan;
}

std::uint64_t NameSet::checksum(std::span<const std::byte> memory) {
    const std::byte* at = memory.data() + checked_from;
    std::size_t left = memory.size() - checked_from;
    std::array<std::uint64_t, 4> lanes{mix_1, mix_2, mix_3, left};
    for (; left >= 32; left -= 32, at += 32) {
        for (std::size_t i = 0; i < 4; ++i)
            lanes[i] = std::rotl(lanes[i] ^ load(at + i * 8), 29) * mix_1;
    }
    for (; left > 0; --left, ++at)
        lanes[0] = std::rotl(lanes[0] ^ static_cast<std::uint64_t>(*at), 29) * mix_1;
    return mix(lanes[0] ^ mix_2, lanes[1] ^ mix_3) ^ mix(lanes[2], lanes[3] ^ mix_2);
}

// --- opening

namespace {

constexpr std::size_t long_head_bytes = 4;

class LongName {
  public:
    explicit LongName(const std::uint8_t* at) : at_(at) {}
    std::uint32_t code_bytes() const { return at_[0] | std::uint32_t{at_[1]} << 8; }
    std::uint32_t group() const { return at_[2] | std::uint32_t{at_[3]} << 8; }
    const std::uint8_t* code() const { return at_ + long_head_bytes; }

  private:
    const std::uint8_t* at_;
};

std::string check_header(std::span<const std::byte> block) {
    if (block.size() < sizeof(NameSetHeader)) return bad("too short");
    NameSetHeader header;
    std::memcpy(&header, block.data(), sizeof header);
    if (std::string_view(header.magic, sizeof header.magic) != name_set_magic) return bad("of another kind");
    if (header.version != name_set_version) {
        return "expected a prepared list file of version " + std::to_string(name_set_version) +
               ", found version " + std::to_string(header.version);
    }
    if (header.bytes != block.size()) {
        return "expected a prepared list file of " + std::to_string(header.bytes) + " bytes, found " +
               std::to_string(block.size());
    }
    const bool fits = header.labels_min > 0 && header.labels_min <= server_name_bytes_max &&
                      header.key_bits >= NameLine::remainder_bits - 1 &&
                      header.key_bits <= NameKey::bits_max && header.keys_per_line > 0 &&
                      header.keys_per_line <= 1u << NameLine::remainder_bits &&
                      header.lines >= (std::uint64_t{1} << header.key_bits) / header.keys_per_line + 1 &&
                      std::has_single_bit(header.long_slots) && header.groups > 0 &&
                      header.groups <= NameLine::groups_max && header.notes_bytes <= block.size();
    if (!fits || NameSetPlan::of(header).end != block.size())
        return bad("broken (its sections do not add up)");
    if (NameSet::checksum(block) != header.checksum) return bad("broken (its checksum is wrong)");
    return "";
}

bool lines_are_sound(const NameSetHeader& header, const std::uint8_t* lines) {
    for (std::uint32_t number = 0; number < header.lines; ++number) {
        const NameLine line(lines + std::size_t{number} * NameLine::bytes);
        if (line.reach() >= header.lines - number || !line.is_sound()) return false;
        for (std::uint32_t i = 0; i < line.names(); ++i) {
            if ((line.tag(i) >> NameLine::remainder_bits & NameLine::away_max) > number) return false;
        }
    }
    return true;
}

bool long_names_are_sound(const NameSetHeader& header, const std::uint32_t* index,
                          const std::uint8_t* names) {
    for (std::uint32_t slot = 0; slot < header.long_slots; ++slot) {
        if (index[slot] == 0) continue;
        const std::uint64_t at = index[slot] - 1;
        if (at + long_head_bytes > header.long_bytes) return false;
        const LongName name(names + at);
        if (name.code_bytes() == 0 || at + long_head_bytes + name.code_bytes() > header.long_bytes)
            return false;
        if (name.code()[name.code_bytes() - 1] == 0) return false;
    }
    // Else a search would not end.
    return std::find(index, index + header.long_slots, 0u) != index + header.long_slots;
}

}  // namespace

std::expected<NameSet, std::string> NameSet::open(NameSetMemory memory) {
    std::span<const std::byte> block(memory.data(), memory.size());
    if (std::string mistake = check_header(block); !mistake.empty()) return std::unexpected(mistake);
    const auto& header = *reinterpret_cast<const NameSetHeader*>(memory.data());
    const NameSetPlan plan = NameSetPlan::of(header);
    const std::span<const std::uint8_t, NameCode::lengths_bytes> lengths(
        reinterpret_cast<const std::uint8_t*>(memory.data() + plan.lengths), NameCode::lengths_bytes);
    if (!NameCode::is_complete(lengths)) return std::unexpected(bad("broken (its code is incomplete)"));
    if (!lines_are_sound(header, reinterpret_cast<const std::uint8_t*>(memory.data() + plan.lines)) ||
        !long_names_are_sound(header, reinterpret_cast<const std::uint32_t*>(memory.data() + plan.long_index),
                              reinterpret_cast<const std::uint8_t*>(memory.data() + plan.long_names)))
        return std::unexpected(bad("broken (its names do not add up)"));
    return NameSet(std::move(memory), NameCode(lengths));
}

NameSet::NameSet(NameSetMemory memory, NameCode code)
    : memory_(std::move(memory)),
      code_(std::move(code)),
      keys_(header().seed, header().key_bits),
      keys_per_line_reciprocal_(~std::uint64_t{0} / header().keys_per_line + 1) {
    const NameSetPlan plan = NameSetPlan::of(header());
    groups_ = reinterpret_cast<const NameSources*>(memory_.data() + plan.groups);
    lines_ = reinterpret_cast<const std::uint8_t*>(memory_.data() + plan.lines);
    long_index_ = reinterpret_cast<const std::uint32_t*>(memory_.data() + plan.long_index);
    long_names_ = reinterpret_cast<const std::uint8_t*>(memory_.data() + plan.long_names);
    notes_ = memory_.data() + plan.notes;
}

// --- asking

// Exact, as a key and the divisor have at most 56 bits together; one division less on the path.
std::uint32_t NameSet::line_of(std::uint64_t key) const {
    __extension__ using Wide = unsigned __int128;
    if (header().keys_per_line == 1) return static_cast<std::uint32_t>(key);
    return static_cast<std::uint32_t>(Wide{key} * keys_per_line_reciprocal_ >> 64);
}

namespace {

// May read seven bytes behind the rest, which are in the block.
bool is_same(const std::uint8_t* rest, const NameKey& key) {
    for (std::uint32_t i = 0; i * 8 < key.rest_bytes; ++i) {
        const std::uint32_t left = key.rest_bytes - i * 8;
        const std::uint32_t unwanted_bits = left < 8 ? 64 - left * 8 : 0;
        if (load(rest + i * 8) << unwanted_bits != key.rest[i] << unwanted_bits) return false;
    }
    return true;
}

}  // namespace

const NameSources* NameSet::find(const NameKey& key, std::uint32_t line) const {
    const std::uint8_t* at = lines_ + std::size_t{line} * NameLine::bytes;
    const std::uint32_t reach = NameLine(at).reach();
    const auto remainder = static_cast<std::uint32_t>(key.key - std::uint64_t{line} * header().keys_per_line);
    for (std::uint32_t away = 0; away <= reach; ++away, at += NameLine::bytes) {
        const NameLine here(at);
        for (std::uint64_t same = here.matches(remainder, away); same != 0; same &= same - 1) {
            const auto bit = static_cast<std::uint32_t>(std::countr_zero(same));
            const std::uint32_t i = bit % 16 * 4 + bit / 16;
            if (i >= here.names()) continue;
            const NameLine::Name name = here.name(i);
            if (name.rest_bytes == key.rest_bytes && is_same(name.rest, key)) return group(name.group);
        }
    }
    return nullptr;
}

const NameSources* NameSet::find_long(const CodedName& coded, std::uint32_t bits) const {
    const std::uint32_t mask = header().long_slots - 1;
    for (std::uint64_t slot = keys_.long_hash(coded, bits);; ++slot) {
        const std::uint32_t at = long_index_[slot & mask];
        if (at == 0) return nullptr;
        const LongName name(long_names_ + at - 1);
        if (name.code_bytes() != bits / 8 + 1) continue;
        if (std::memcmp(name.code(), coded.words.data(), bits / 8) != 0) continue;
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(coded.words.data());
        const unsigned end = 1u << bits % 8;
        if (name.code()[bits / 8] == ((bytes[bits / 8] & (end - 1)) | end)) return group(name.group());
    }
}

// The caches' misses of all suffixes are waited for at once, not one after the other.
template <typename Visit>
void NameSet::find_each(const CodedName& coded, Visit visit) const {
    constexpr std::size_t round = 8;  // more labels than nearly all names have
    std::array<NameKey, round> keys;
    std::array<std::uint32_t, round> lines;
    for (std::size_t done = header().labels_min - 1; done < coded.borders_count; done += round) {
        const std::size_t count = std::min(round, coded.borders_count - done);
        for (std::size_t i = 0; i < count; ++i) {
            keys_.find(coded, coded.borders[done + i].bits, keys[i]);
            lines[i] = line_of(keys[i].key);
            const std::uint8_t* const line = lines_ + std::size_t{lines[i]} * NameLine::bytes;
            __builtin_prefetch(line);
            __builtin_prefetch(line + NameLine::bytes);
        }
        for (std::size_t i = 0; i < count; ++i) {
            const CodedName::Border& border = coded.borders[done + i];
            const NameSources* sources = keys[i].rest_bytes <= NameKey::rest_bytes_max
                                             ? find(keys[i], lines[i])
                                             : find_long(coded, border.bits);
            if (sources != nullptr) visit(border, *sources);
        }
    }
}

ListSet NameSet::lookup(std::string_view server_name) const {
    CodedName coded;
    code_.encode(server_name, coded);
    ListSet known;
    ListSet excepted;
    find_each(coded, [&](const CodedName::Border& border, const NameSources& sources) {
        known |= sources.subtree;
        if (border.at == 0) known |= sources.exact;
        excepted |= sources.except;
    });
    known -= excepted;
    return known;
}

std::vector<NameSet::Found> NameSet::trace(std::string_view server_name) const {
    CodedName coded;
    code_.encode(server_name, coded);
    std::vector<Found> found;
    find_each(coded, [&](const CodedName::Border& border, const NameSources& sources) {
        found.push_back({server_name.substr(border.at), sources});
    });
    return found;
}

void NameSet::for_each(const std::function<void(std::string_view, const NameSources&)>& visit) const {
    std::string name;
    std::array<std::uint64_t, 6> words;
    for (std::uint32_t number = 0; number < header().lines; ++number) {
        const NameLine line(lines_ + std::size_t{number} * NameLine::bytes);
        for (std::uint32_t i = 0; i < line.names(); ++i) {
            const NameLine::Name entry = line.name(i);
            NameKey key{.key = std::uint64_t{number - entry.away} * header().keys_per_line + entry.remainder,
                        .rest_bytes = entry.rest_bytes,
                        .rest = {}};
            std::memcpy(key.rest.data(), entry.rest, entry.rest_bytes);
            const std::uint32_t bits = keys_.code_of(key, words);
            code_.decode(reinterpret_cast<const std::uint8_t*>(words.data()), bits, name);
            visit(name, *group(entry.group));
        }
    }
    for (std::uint32_t slot = 0; slot < header().long_slots; ++slot) {
        if (long_index_[slot] == 0) continue;
        const LongName entry(long_names_ + long_index_[slot] - 1);
        const unsigned last = entry.code()[entry.code_bytes() - 1];
        code_.decode(entry.code(), entry.code_bytes() * 8 - 9 + static_cast<unsigned>(std::bit_width(last)),
                     name);
        visit(name, *group(entry.group()));
    }
}

}  // namespace sluice::policy
