#pragma once
// Server names as long, as alike and as unequally spread over their ends as real ones are, drawn at random.
#include <array>
#include <random>
#include <string>
#include <string_view>

namespace sluice::test {

template <typename Random>
std::string plausible_name(Random& random) {
    constexpr std::array<std::string_view, 16> syllables{
        "ta", "re", "on", "shop", "cloud", "mi", "net", "e", "lo", "an", "data", "x", "st", "ing", "8", "-"};
    constexpr std::array<std::string_view, 6> ends{".com", ".com",        ".com",
                                                   ".org", ".co.example", ".xn--p1ai"};
    std::string name(random() % 3 == 0 ? "www." : random() % 5 == 0 ? "cdn1.img." : "");
    name += 'a';
    for (std::size_t i = 2 + random() % 5; i > 0; --i)
        name += syllables[random() % syllables.size()];
    return name.append(1, 'z').append(ends[random() % ends.size()]);
}

}  // namespace sluice::test
