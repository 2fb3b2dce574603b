#include "policy/address_set.h"

#include <algorithm>

namespace sluice::policy {
namespace {

// Prefixes either nest or are apart: sorted by their begin, the one that holds others comes first.
std::vector<AddressRange> apart(std::vector<AddressRange> ranges) {
    std::ranges::sort(ranges, [](const AddressRange& a, const AddressRange& b) {
        return a.first != b.first ? a.first < b.first : a.last > b.last;
    });
    std::vector<AddressRange> out;
    for (const AddressRange& range : ranges) {
        if (out.empty() || range.first > out.back().last) out.push_back(range);
    }
    return out;
}

}  // namespace

AddressSet::AddressSet(std::vector<Cidr> prefixes, std::string name)
    : prefixes_(std::move(prefixes)), name_(std::move(name)) {
    for (const Cidr& prefix : prefixes_)
        (prefix.address().is_v4() ? v4_ : v6_).push_back(range_of(prefix));
    v4_ = apart(std::move(v4_));
    v6_ = apart(std::move(v6_));
}

bool AddressSet::contains(const IpAddress& address) const {
    std::span<const AddressRange> all = ranges(address.is_v4());
    AddressNumber number = number_of(address);
    auto after = std::ranges::upper_bound(all, number, {}, &AddressRange::first);
    return after != all.begin() && number <= (after - 1)->last;
}

const Cidr* AddressSet::find(const IpAddress& address) const {
    auto prefix = std::ranges::find_if(prefixes_, [&](const Cidr& p) { return p.contains(address); });
    return prefix == prefixes_.end() ? nullptr : &*prefix;
}

}  // namespace sluice::policy
