#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "policy/name_set.h"
#include "policy/name_set_builder.h"

namespace sluice::policy {

// The different sources that names have, numbered.
class NameGroups {
  public:
    struct Group {
        NameSources sources;
        std::uint64_t names = 0;
    };

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

}  // namespace sluice::policy
