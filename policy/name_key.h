#pragma once
// Where a name is kept in a NameSet, and what is left to write down there.
//
// The first bits of a name's code are turned into a number that looks random: its key. Which line the name is
// in says most of the key, so a line holds only the remainder, and the rest of the code. As the turning can
// be undone, remainder and rest are the same for two names of one line only if the names are.
#include <array>
#include <cstdint>
#include <string>

#include "policy/name_code.h"

namespace sluice::policy {

struct NameKey {
    static constexpr std::uint32_t rest_bytes_max = 24;
    static constexpr std::uint32_t bits_max = 44;

    std::uint64_t key;
    std::uint32_t rest_bytes;  // above the maximum: the name is a long one, and the rest is missing here
    std::array<std::uint64_t, 4> rest;
};

// Nobody who does not know the seed can choose names that meet in one line.
class NameKeys {
  public:
    NameKeys(std::uint64_t seed, unsigned key_bits);

    // Of the first `bits` bits of a code. Written in place: a lookup would wait for the copy.
    void find(const CodedName& coded, std::uint32_t bits, NameKey& key) const;
    std::uint64_t long_hash(const CodedName& coded, std::uint32_t bits) const;
    // The way back: a code with its end (see ended()), and its length without.
    std::uint32_t code_of(const NameKey& key, std::array<std::uint64_t, 6>& words) const;

  private:
    std::uint64_t hash_of_rest(const NameKey& key) const;

    std::uint64_t seed_;
    unsigned key_bits_;
    std::uint64_t mask_;
    std::array<std::uint64_t, 3> factors_;  // odd, so that multiplying can be undone
    std::array<std::uint64_t, 3> inverses_;
};

// The `number`-th word of the first `bits` bits of a code, with a one behind them and zeros behind that: so
// its length need not be kept.
inline std::uint64_t ended(const CodedName& coded, std::uint32_t bits, std::uint32_t number) {
    if (number < bits / 64) return coded.words[number];
    if (number > bits / 64) return 0;
    const std::uint64_t end = std::uint64_t{1} << (bits % 64);
    return (coded.words[number] & (end - 1)) | end;
}

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = Wide{a} * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// Odd, with as many ones as zeros (wyhash's).
inline constexpr std::uint64_t mix_1 = 0xa0761d6478bd642f;
inline constexpr std::uint64_t mix_2 = 0xe7037ed1a0b428db;
inline constexpr std::uint64_t mix_3 = 0x8ebc6af09c88c6e3;

}  // namespace sluice::policy
