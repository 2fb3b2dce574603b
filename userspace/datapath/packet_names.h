#pragma once
// The texts that packet-spliced flows share: each server name and rule is kept once, in the pinned map
// `packet_names`, and flows have its number. Not thread-safe.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sluice::datapath {

class PacketNames {
  public:
    // Marks each number that a live flow has.
    using MarkUsed = std::function<void(std::vector<bool>& used)>;

    // `map`: descriptor of `packet_names`, which must outlive this. Takes in what is there.
    explicit PacketNames(int map);

    // The number of `text`, cut to fit. 0 for no text, and when all numbers are taken by flows that live:
    // what hostile clients say must not cost more memory than that.
    std::uint16_t intern(std::string_view text, const MarkUsed& mark_used);

    // For readers.
    static std::string read(int map, std::uint16_t number);

  private:
    std::uint16_t free_number(const MarkUsed& mark_used);
    void sweep(const MarkUsed& mark_used);

    int map_;
    std::unordered_map<std::string, std::uint16_t> numbers_;
    std::vector<std::uint16_t> free_;  // the next one last
    std::uint64_t swept_ns_ = 0;       // CLOCK_MONOTONIC; 0: never
};

}  // namespace sluice::datapath
