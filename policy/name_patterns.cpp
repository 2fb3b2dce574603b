#include "policy/name_patterns.h"

#include <algorithm>

namespace sluice::policy {

std::size_t count_labels(std::string_view name) {
    return 1 + static_cast<std::size_t>(std::ranges::count(name, '.'));
}

NamePatterns::NamePatterns(std::vector<NamePattern> patterns, std::string name)
    : patterns_(std::move(patterns)), name_(std::move(name)) {
    for (std::size_t i = 0; i < patterns_.size(); ++i) {
        const NamePattern& pattern = patterns_[i];
        if (pattern.kind() == NamePattern::Kind::glob || pattern.kind() == NamePattern::Kind::regex) {
            wildcard_.push_back(i);
            continue;
        }
        Reach& reach = plain_[pattern.pattern()];
        (pattern.kind() == NamePattern::Kind::exact ? reach.exact : reach.suffix) = true;
        labels_max_ = std::max(labels_max_, count_labels(pattern.pattern()));
    }
}

bool NamePatterns::matches(std::string_view server_name) const {
    if (server_name.empty()) return false;
    bool found = false;
    for_each_suffix(server_name, labels_max_, [&](std::string_view suffix) {
        auto entry = plain_.find(suffix);
        if (entry == plain_.end()) return false;
        found = entry->second.suffix || (entry->second.exact && suffix.size() == server_name.size());
        return found;
    });
    return found ||
           std::ranges::any_of(wildcard_, [&](std::size_t i) { return patterns_[i].matches(server_name); });
}

const NamePattern* NamePatterns::find(std::string_view server_name) const {
    auto pattern = std::ranges::find_if(patterns_, [&](const auto& p) { return p.matches(server_name); });
    return pattern == patterns_.end() ? nullptr : &*pattern;
}

}  // namespace sluice::policy
