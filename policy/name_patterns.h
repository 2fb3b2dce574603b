#pragma once
// Many patterns for server names, asked at once: those without wildcards by hash, the rest one by one.
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/name_pattern.h"

namespace sluice::policy {

struct TextHash {
    using is_transparent = void;  // looked up by std::string_view, without a copy
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
template <typename Value>
using ByText = std::unordered_map<std::string, Value, TextHash, std::equal_to<>>;

std::size_t count_labels(std::string_view name);

// Calls `visit` with each suffix of `name` at a label's begin, the shortest first, until it answers true or
// the suffix has `labels_max` labels: nobody's long name costs more than the patterns are worth.
template <typename Visit>
void for_each_suffix(std::string_view name, std::size_t labels_max, Visit visit) {
    std::size_t start = name.size();
    for (std::size_t label = 0; label < labels_max && start > 0; ++label) {
        std::size_t dot = name.rfind('.', start - 1);
        std::size_t begin = dot == name.npos ? 0 : dot + 1;
        if (visit(name.substr(begin))) return;
        start = begin == 0 ? 0 : begin - 1;
    }
}

class NamePatterns {
  public:
    // `name`: of a set that the file names; empty for what stands in a rule itself.
    explicit NamePatterns(std::vector<NamePattern> patterns, std::string name = {});

    bool matches(std::string_view server_name) const;  // allocates nothing, but for RE2
    const NamePattern* find(
        std::string_view server_name) const;  // the first that matches, as written; or null
    const std::vector<NamePattern>& patterns() const { return patterns_; }
    const std::string& name() const { return name_; }

  private:
    struct Reach {
        bool exact = false;
        bool suffix = false;
    };
    std::vector<NamePattern> patterns_;
    std::string name_;
    ByText<Reach> plain_;
    std::size_t labels_max_ = 0;         // of plain_
    std::vector<std::size_t> wildcard_;  // in patterns_: globs and regular expressions
};

}  // namespace sluice::policy
