#pragma once
// Which steps of a policy can match a flow at all, told by its addresses, port, protocol, name and lists
// without asking each: a policy of a thousand rules costs little more than one of ten. Those that it names
// are then asked themselves, so the index may name too many, never too few.
//
// Steps are numbered bits, or blocks of steps when there are more than bits. For each of the six dimensions
// the flow's value has rows of bits, made beforehand; the candidates are what all dimensions have in common.
#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "policy/step.h"

namespace sluice::policy {

// Rows of bits; equal ones are kept once.
class BitRows {
  public:
    static constexpr std::size_t words_max = 256;  // a policy with more than 16384 steps has blocks
    using Row = std::vector<std::uint64_t>;

    explicit BitRows(std::size_t words) : words_(words) {}
    std::uint32_t intern(const Row& row);
    const std::uint64_t* row(std::uint32_t id) const { return bits_.data() + id * words_; }
    std::size_t words() const { return words_; }
    void forget_ids() { ids_.clear(); }  // REQUIRES that no more rows come

  private:
    std::size_t words_;
    std::vector<std::uint64_t> bits_;
    std::map<Row, std::uint32_t> ids_;
};

// The row of a number: of a port, or of an address of one family.
class RangeRows {
  public:
    void add(const AddressRange& range, BitRows::Row steps) { ranges_.push_back({range, std::move(steps)}); }
    // `always`: the steps that any number will do for. Forgets the ranges.
    void build(const BitRows::Row& always, BitRows& rows);
    std::uint32_t find(AddressNumber number) const;

  private:
    struct Range {
        AddressRange range;
        BitRows::Row steps;
    };
    struct Part {
        AddressNumber first;
        std::uint32_t row;
    };
    std::vector<Range> ranges_;
    std::vector<Part> parts_;  // sorted; each up to the next one
};

class RuleIndex {
  public:
    explicit RuleIndex(std::span<const Step> steps);

    // REQUIRES facts that are complete (Policy::complete). Calls `visit` with the number of each step that
    // can match, in their order, until it answers true.
    template <typename Visit>
    void for_each_candidate(const Facts& facts, Visit visit) const {
        std::array<std::uint64_t, BitRows::words_max> bits;  // the first rows_.words() are used
        find(facts, bits);
        for (std::size_t w = 0; w < rows_.words(); ++w) {
            for (std::uint64_t word = bits[w]; word != 0; word &= word - 1) {
                std::size_t block = w * 64 + static_cast<std::size_t>(std::countr_zero(word));
                std::size_t end = std::min(steps_, (block + 1) * block_steps_);
                for (std::size_t step = block * block_steps_; step < end; ++step) {
                    if (visit(step)) return;
                }
            }
        }
    }

  private:
    using Bits = std::array<std::uint64_t, BitRows::words_max>;
    void find(const Facts& facts, Bits& bits) const;
    const std::uint64_t* protocol_row(Protocol protocol) const {
        return rows_.row(protocols_[static_cast<std::size_t>(protocol)]);
    }
    void set(BitRows::Row& row, std::size_t step) const;
    template <typename Set, typename Sets>
    BitRows::Row gather(std::span<const Step> steps, Sets sets,
                        std::map<const Set*, BitRows::Row>& by_set) const;
    void build_addresses(std::span<const Step> steps,
                         std::vector<std::shared_ptr<const AddressSet>> Conditions::* which,
                         std::array<RangeRows, 2>& out);
    void build_ports(std::span<const Step> steps);
    void build_protocols(std::span<const Step> steps);
    void build_names(std::span<const Step> steps);
    void build_lists(std::span<const Step> steps);
    void add_row(Bits& bits, std::uint32_t row) const;

    std::size_t steps_;
    std::size_t block_steps_;
    BitRows rows_;
    std::array<RangeRows, 2> sources_;       // IPv6, IPv4
    std::array<RangeRows, 2> destinations_;  // the same
    RangeRows ports_;
    std::array<std::uint32_t, protocol_words.size()> protocols_{};
    std::uint32_t any_name_ = 0;      // steps that no suffix leads to
    ByText<std::uint32_t> suffixes_;  // steps that want a name with this end
    std::size_t labels_max_ = 0;
    std::uint32_t any_list_ = 0;                     // steps that ask for no list
    std::uint32_t uncategorized_ = 0;                // steps that names will do for that no list knows
    std::array<std::uint32_t, lists_max> listed_{};  // steps that ask for this list
};

}  // namespace sluice::policy
