#pragma once
// Where the names of a set under construction wait: in the order of their keys.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "policy/name_code.h"
#include "policy/name_groups.h"
#include "policy/name_key.h"
#include "policy/name_set.h"

namespace sluice::policy {

// A number of lines and how keys are spread over them.
struct NameSpread {
    unsigned key_bits;
    std::uint32_t keys_per_line;
    std::uint32_t lines;  // that keys lead to

    static NameSpread of(unsigned key_bits, double lines) {
        const std::uint64_t keys = std::uint64_t{1} << key_bits;
        NameSpread spread{key_bits, static_cast<std::uint32_t>(static_cast<double>(keys) / lines), 0};
        spread.keys_per_line = std::clamp(spread.keys_per_line, 1u, 1u << NameLine::remainder_bits);
        spread.lines = static_cast<std::uint32_t>((keys - 1) / spread.keys_per_line) + 1;
        return spread;
    }
};

// The names in the order of their keys, each once.
class NameStaging {
  public:
    NameStaging(const NameCode& code, NameSpread spread);

    // First every name is announced, then every name is put.
    void announce(std::string_view name) {
        place(name);
        if (is_long_) return;
        __builtin_prefetch(&begin_[bucket_ + 1], 1);
        announced_.push_back({bucket_ + 1, head_bytes + key_.rest_bytes});
        if (announced_.size() == batch) count_announced();
    }
    void make_room();
    void put(std::string_view name, std::uint32_t group);
    // Of one name's entries, one remains; those of a bucket come into the order of their keys.
    void merge(NameGroups& groups);

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
    void merge_bucket(std::uint64_t bucket, NameGroups& groups);
    std::uint8_t* data() const { return reinterpret_cast<std::uint8_t*>(memory_.data()); }

    const NameCode& code_;
    NameSpread spread_;
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

}  // namespace sluice::policy
