#pragma once
// Server names as long, as alike and as unequally spread over their ends as those of real block lists, drawn
// at random.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {

template <std::size_t N, typename Random>
std::string_view one_of(const std::array<std::string_view, N>& words, Random& random) {
    return words[random() % N];
}

template <typename Random>
std::string plausible_label(Random& random) {
    constexpr std::array<std::string_view, 32> begins{
        "b", "c", "d", "f", "g",  "h",  "j",  "k",  "l",  "m",  "n",  "p",  "r",  "s",  "t",     "v",
        "w", "c", "m", "s", "br", "cl", "ch", "fr", "gr", "pr", "sh", "st", "tr", "th", "click", "track"};
    constexpr std::array<std::string_view, 16> vowels{"a", "e",  "i",  "o",  "u",  "a",  "e",  "i",
                                                      "o", "ea", "ai", "ou", "ie", "io", "oo", "y"};
    constexpr std::array<std::string_view, 16> codas{"",  "",  "",  "",  "",   "",   "",   "n",
                                                     "r", "s", "l", "t", "nd", "st", "ng", "x"};
    constexpr std::string_view characters = "abcdefghijklmnopqrstuvwxyz0123456789";
    std::string label;
    if (random() % 3 == 0) {  // a machine's choice
        for (std::size_t left = 8 + random() % 12; left > 0; --left)
            label += characters[random() % characters.size()];
        return label;
    }
    for (std::size_t left = 2 + random() % 3; left > 0; --left) {
        label.append(one_of(begins, random)).append(one_of(vowels, random)).append(one_of(codas, random));
        if (left > 1 && random() % 12 == 0) label += '-';
    }
    if (random() % 10 == 0) label += std::to_string(random() % 1000);
    return label;
}

template <typename Random>
std::string plausible_name(Random& random) {
    constexpr std::array<std::string_view, 16> ends{".com", ".com", ".com",   ".com", ".com", ".com",
                                                    ".com", ".net", ".info",  ".org", ".ru",  ".de",
                                                    ".xyz", ".top", ".co.uk", ".shop"};
    constexpr std::array<std::string_view, 8> parents{"www.", "www.", "www.",  "www.",
                                                      "m.",   "cdn.", "img1.", "www.cdn.shop."};
    std::string name;
    if (random() % 3 == 0)
        name = one_of(parents, random);
    else if (random() % 10 == 0)
        name = plausible_label(random) + ".";
    return name.append(plausible_label(random)).append(one_of(ends, random));
}

// No name twice. Remembers 64 bits of each, `count` at most: at ten million, one name in a few hundred
// thousand runs is left out without need.
class DifferentNames {
  public:
    explicit DifferentNames(std::size_t count) : seen_(std::bit_ceil(2 * count + 1)) {}

    template <typename Random>
    std::string draw(Random& random) {
        for (;;) {
            std::string name = plausible_name(random);
            if (insert(std::hash<std::string>()(name) | 1)) return name;
        }
    }

  private:
    bool insert(std::uint64_t hash) {
        for (std::size_t slot = hash >> 20;; ++slot) {
            std::uint64_t& at = seen_[slot & (seen_.size() - 1)];
            if (at == hash) return false;
            if (at != 0) continue;
            at = hash;
            return true;
        }
    }
    std::vector<std::uint64_t> seen_;  // an open hash table; 0: free
};

}  // namespace sluice::test
