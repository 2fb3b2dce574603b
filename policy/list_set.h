#pragma once
// Which of the policy's lists: a set of small numbers, given out by ListCatalog in the order of its lists.
#include <array>
#include <bit>
#include <cstdint>
#include <optional>

namespace sluice::policy {

// Each category of a folder counts as a list of its own (UT1 has about 70). A power of two that keeps a set
// within half a cache line.
inline constexpr std::size_t lists_max = 256;

class ListSet {
  public:
    void add(std::size_t list) { words_[list / 64] |= std::uint64_t{1} << (list % 64); }
    bool contains(std::size_t list) const { return (words_[list / 64] >> (list % 64) & 1) != 0; }
    bool empty() const { return (words_[0] | words_[1] | words_[2] | words_[3]) == 0; }

    ListSet& operator|=(const ListSet& other) {
        for (std::size_t i = 0; i < words_.size(); ++i)
            words_[i] |= other.words_[i];
        return *this;
    }
    ListSet& operator-=(const ListSet& other) {
        for (std::size_t i = 0; i < words_.size(); ++i)
            words_[i] &= ~other.words_[i];
        return *this;
    }
    friend ListSet operator&(ListSet left, const ListSet& right) {
        for (std::size_t i = 0; i < left.words_.size(); ++i)
            left.words_[i] &= right.words_[i];
        return left;
    }
    friend auto operator<=>(const ListSet&, const ListSet&) = default;

    // The smallest member.
    std::optional<std::size_t> first() const {
        for (std::size_t i = 0; i < words_.size(); ++i) {
            if (words_[i] != 0) return i * 64 + static_cast<std::size_t>(std::countr_zero(words_[i]));
        }
        return std::nullopt;
    }

    // Every member, in order.
    template <typename Visit>
    void for_each(Visit visit) const {
        for (std::size_t i = 0; i < words_.size(); ++i) {
            for (std::uint64_t word = words_[i]; word != 0; word &= word - 1)
                visit(i * 64 + static_cast<std::size_t>(std::countr_zero(word)));
        }
    }

  private:
    std::array<std::uint64_t, lists_max / 64> words_{};
};

}  // namespace sluice::policy
