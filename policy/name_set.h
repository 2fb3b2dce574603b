#pragma once
// Millions of names and which lists know each, made once (NameSetBuilder) and then only asked. About ten
// bytes a name. No false match: what decides is the whole name's code, bit for bit, never a fingerprint.
//
// One block of memory, the same as in a prepared file (little-endian, every section at a multiple of 64):
//
//   NameSetHeader
//   lengths      NameCode's, by which names are coded
//   groups       NameSources[]: the different answers that names give
//   lines        64 bytes each, a cache line, for names that belong to it (see name_key.h) or to one before:
//
//                  1 byte       how many names (5 high bits), and how many lines further those that belong
//                               here may be (3 low bits; 7: up to 15): a full line gives to the next one
//                  2 bytes each key's remainder (11 low bits), lines away from its own (4), group's high bit
//                  1 byte each  bytes of the code's rest (5 low bits), and the 3 low bits of the group's 4
//                  then each:   if the group says 15, what it has more: 1 byte, or 255 and 2 bytes; the rest
//
//   long_index   std::uint32_t[], a power of two: where in long_names a name of that hash is, plus 1
//   long_names   for each name whose rest has more than 24 bytes: 2 bytes how many the code has, 2 bytes
//                group, code and its end
//   notes        bytes of whoever made the set
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <expected>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/list_set.h"
#include "policy/name_code.h"
#include "policy/name_key.h"

namespace sluice::policy {

// How a list means a name.
enum class NameReach : std::uint8_t {
    subtree,  // the name and every name below it
    exact,    // the name alone
    except,   // takes the name and every name below it out of the list
};

// The lists that have one name, by what they mean.
struct NameSources {
    ListSet subtree;
    ListSet exact;
    ListSet except;
    NameSources& operator|=(const NameSources& other) {
        subtree |= other.subtree;
        exact |= other.exact;
        except |= other.except;
        return *this;
    }
    friend auto operator<=>(const NameSources&, const NameSources&) = default;
};

inline constexpr std::string_view name_set_magic("sluiceN\n", 8);
inline constexpr std::uint32_t name_set_version = 2;

struct NameSetHeader {
    char magic[8];
    std::uint32_t version;
    std::uint32_t groups;
    std::uint64_t checksum;  // of all that follows it
    std::uint64_t bytes;     // of the whole
    std::uint64_t seed;
    std::uint64_t names;
    std::uint32_t labels_min;  // of the names: shorter suffixes need not be looked for
    std::uint32_t key_bits;
    std::uint32_t keys_per_line;  // key / keys_per_line is the line where a name belongs
    std::uint32_t lines;
    std::uint32_t long_slots;
    std::uint32_t long_bytes;
    std::uint64_t notes_bytes;
};

// A block of zeros in large pages: with small ones, a lookup takes half as long again.
class NameSetMemory {
  public:
    NameSetMemory() = default;
    explicit NameSetMemory(std::size_t bytes);  // throws std::bad_alloc
    std::byte* data() const { return data_.get(); }
    std::size_t size() const { return size_; }

  private:
    struct Unmap {
        std::size_t bytes;
        void operator()(std::byte* data) const;
    };
    std::unique_ptr<std::byte, Unmap> data_{nullptr, Unmap{0}};
    std::size_t size_ = 0;
};

class NameSet {
  public:
    // The set that `memory` holds, every byte of it checked: whatever the bytes, no lookup will read outside.
    // The error is one sentence, "expected ..., found ...".
    static std::expected<NameSet, std::string> open(NameSetMemory memory);
    // What open() wants at the head. `memory` begins with a header that is complete but for the checksum.
    static std::uint64_t checksum(std::span<const std::byte> memory);

    // The lists that know `server_name` (lower case, no trailing dot): by itself, or by a parent where the
    // list means subtrees, and without an exception. Allocates nothing; from any thread.
    ListSet lookup(std::string_view server_name) const;

    // What stands behind lookup(): each suffix that is in the set, shortest first. For people: allocates.
    struct Found {
        std::string_view suffix;  // of `server_name`
        NameSources sources;
    };
    std::vector<Found> trace(std::string_view server_name) const;

    // Every name once, in no useful order.
    void for_each(const std::function<void(std::string_view, const NameSources&)>& visit) const;

    std::uint64_t names() const { return header().names; }
    std::size_t bytes() const { return memory_.size() + code_.bytes(); }  // of memory
    std::span<const std::byte> block() const { return {memory_.data(), memory_.size()}; }
    std::span<const std::byte> notes() const { return {notes_, header().notes_bytes}; }

  private:
    NameSet(NameSetMemory memory, NameCode code);
    const NameSetHeader& header() const { return *reinterpret_cast<const NameSetHeader*>(memory_.data()); }
    const NameSources* find(const NameKey& key, std::uint32_t line) const;
    const NameSources* find_long(const CodedName& coded, std::uint32_t bits) const;
    template <typename Visit>
    void find_each(const CodedName& coded, Visit visit) const;
    std::uint32_t line_of(std::uint64_t key) const;
    // Clamped rather than checked at the opening: every line would have to be read for it.
    const NameSources* group(std::uint32_t number) const {
        return groups_ + (number < header().groups ? number : 0);
    }

    NameSetMemory memory_;
    NameCode code_;
    NameKeys keys_;
    std::uint64_t keys_per_line_reciprocal_;
    const NameSources* groups_;
    const std::uint8_t* lines_;
    const std::uint32_t* long_index_;
    const std::uint8_t* long_names_;
    const std::byte* notes_;
};

// Where the sections of a set begin.
struct NameSetPlan {
    std::size_t lengths, groups, lines, long_index, long_names, notes, end;
    static NameSetPlan of(const NameSetHeader& header);  // REQUIRES notes_bytes that do not overflow
};

// One line of a set.
class NameLine {
  public:
    static constexpr std::size_t bytes = 64;
    static constexpr std::uint32_t away_max = 15;
    static constexpr std::uint32_t names_max = 16;
    static constexpr std::uint32_t remainder_bits = 11;
    static constexpr std::uint32_t groups_max = 65536;

    struct Name {
        std::uint32_t remainder;
        std::uint32_t away;
        std::uint32_t group;
        std::uint32_t rest_bytes;
        const std::uint8_t* rest;
    };

    explicit NameLine(const std::uint8_t* line) : line_(line) {}
    std::uint32_t names() const { return line_[0] >> 3; }
    std::uint32_t reach() const { return (line_[0] & 7u) < 7 ? line_[0] & 7u : away_max; }
    bool is_sound() const;  // asked once, before anything else: what follows relies on it

    // The name number `i` is at `rest`, which visit() gets, and next_rest() gives the place behind it.
    std::uint16_t tag(std::uint32_t i) const {
        return static_cast<std::uint16_t>(line_[1 + 2 * i] | line_[2 + 2 * i] << 8);
    }
    Name name(std::uint32_t i) const;

    // The names that have this remainder, so far away, and perhaps others: name 4 * word + lane is bit
    // 16 * lane + word. Without a branch, since nobody could foresee which way it goes.
    std::uint64_t matches(std::uint32_t remainder, std::uint32_t away) const {
        std::uint64_t found = 0;
        for (std::uint32_t word = 0; word < names_max / 4; ++word)
            found |= matching_lanes(remainder | away << remainder_bits, 4 * word) >> (15 - word);
        return found;
    }

    // Writes a line of these names, whose rests lie elsewhere. REQUIRES that they fit.
    static void write(std::uint8_t* line, std::span<const Name> names, std::uint32_t reach);
    static std::uint32_t bytes_of(const Name& name) {
        return 3 + (name.group < 15 ? 0 : name.group < 15 + 255 ? 1 : 3) + name.rest_bytes;
    }

  private:
    // The highest bit of each of four tags, from number `i` on, that is `tag` but for the group's bit.
    std::uint64_t matching_lanes(std::uint32_t tag, std::uint32_t i) const {
        constexpr std::uint64_t ones = 0x0001'0001'0001'0001;
        std::uint64_t tags;
        std::memcpy(&tags, line_ + 1 + 2 * i, sizeof tags);
        // Of 15 bits each, so that no lane borrows from the next.
        return (ones << 15) - ((tags & ones * 0x7fff) ^ ones * tag) & ones << 15;
    }

    const std::uint8_t* line_;
};

}  // namespace sluice::policy
