#pragma once
// Collects names, then makes a NameSet of them. While it works it needs, beside the set itself, about 40
// bytes a name, given back at the end.
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "policy/name_set.h"

namespace sluice::policy {

// The lists are too large. what() is one sentence.
struct NameSetFull : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class NameSetBuilder {
  public:
    // Of all names together, with a byte more for each: room for some 50 million.
    static constexpr std::size_t names_bytes_max = std::size_t{1} << 30;

    // `name` as canonical_server_name() gives it. The same name may come any number of times. Throws
    // NameSetFull.
    void add(std::string_view name, std::size_t list, NameReach reach);
    // Forgets what was added since then.
    struct Mark {
        std::size_t bytes;
        std::size_t runs;
    };
    Mark mark() const { return {names_bytes_.size(), runs_.size()}; }
    void forget_since(const Mark& mark) {
        names_bytes_.resize(mark.bytes);
        runs_.erase(runs_.begin() + static_cast<std::ptrdiff_t>(mark.runs), runs_.end());
    }

    // Leaves the builder empty. Throws NameSetFull. `notes`: see NameSet.
    NameSet build(std::span<const std::byte> notes = {});

  private:
    // Names that came one after the other with the same list and meaning.
    struct Run {
        std::size_t begin;  // in names_bytes_
        std::uint16_t list;
        NameReach reach;
    };

    std::vector<char> names_bytes_;  // length, then the name
    std::vector<Run> runs_;
};

}  // namespace sluice::policy
