#include "policy/rule_index.h"

#include <algorithm>

namespace sluice::policy {
namespace {

constexpr std::size_t bits_max = BitRows::words_max * 64;

void unite(BitRows::Row& row, const BitRows::Row& other) {
    for (std::size_t i = 0; i < row.size(); ++i)
        row[i] |= other[i];
}

// Where a step's condition stands: in the row, else in the rule that uses its profile. One of the two is
// enough to leave a step out.
const Conditions& narrower(const Step& step, auto is_set) {
    return !is_set(step.rule->when) && step.user != nullptr ? step.user->when : step.rule->when;
}

}  // namespace

std::uint32_t BitRows::intern(const Row& row) {
    auto [entry, is_new] = ids_.emplace(row, static_cast<std::uint32_t>(ids_.size()));
    if (is_new) bits_.insert(bits_.end(), row.begin(), row.end());
    return entry->second;
}

// Sweeps over the begins and ends of the ranges, with the set of those that hold the current number.
void RangeRows::build(const BitRows::Row& always, BitRows& rows) {
    struct Event {
        AddressNumber at;
        bool begins;
        std::size_t range;
    };
    std::vector<Event> events;
    for (std::size_t i = 0; i < ranges_.size(); ++i) {
        events.push_back({ranges_[i].range.first, true, i});
        AddressNumber after = ranges_[i].range.last + 1;
        if (after != 0) events.push_back({after, false, i});  // 0: it goes on to the last number there is
    }
    std::ranges::sort(events, {}, &Event::at);
    parts_ = {{0, rows.intern(always)}};
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < events.size();) {
        AddressNumber at = events[i].at;
        for (; i < events.size() && events[i].at == at; ++i) {
            if (events[i].begins) {
                open.push_back(events[i].range);
            } else {
                std::erase(open, events[i].range);
            }
        }
        BitRows::Row row = always;
        for (std::size_t range : open)
            unite(row, ranges_[range].steps);
        parts_.push_back({at, rows.intern(row)});
    }
    ranges_.clear();
    ranges_.shrink_to_fit();
}

std::uint32_t RangeRows::find(AddressNumber number) const {
    return (std::ranges::upper_bound(parts_, number, {}, &Part::first) - 1)->row;
}

RuleIndex::RuleIndex(std::span<const Step> steps)
    : steps_(steps.size()),
      block_steps_(std::max<std::size_t>(1, (steps.size() + bits_max - 1) / bits_max)),
      rows_((steps.size() + block_steps_ * 64 - 1) / (block_steps_ * 64)) {
    build_addresses(steps, &Conditions::sources, sources_);
    build_addresses(steps, &Conditions::destinations, destinations_);
    build_ports(steps);
    build_protocols(steps);
    build_names(steps);
    build_lists(steps);
    rows_.forget_ids();
}

void RuleIndex::set(BitRows::Row& row, std::size_t step) const {
    std::size_t bit = step / block_steps_;
    row[bit / 64] |= std::uint64_t{1} << (bit % 64);
}

// For each set the steps that it serves; returns the steps that want none. `sets`: of a step, or null.
template <typename Set, typename Sets>
BitRows::Row RuleIndex::gather(std::span<const Step> steps, Sets sets,
                               std::map<const Set*, BitRows::Row>& by_set) const {
    BitRows::Row always(rows_.words());
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const std::vector<std::shared_ptr<const Set>>* wanted = sets(steps[i]);
        if (wanted == nullptr) set(always, i);
        for (std::size_t j = 0; wanted != nullptr && j < wanted->size(); ++j) {
            auto entry = by_set.try_emplace((*wanted)[j].get(), BitRows::Row(rows_.words())).first;
            set(entry->second, i);
        }
    }
    return always;
}

void RuleIndex::build_addresses(std::span<const Step> steps,
                                std::vector<std::shared_ptr<const AddressSet>> Conditions::* which,
                                std::array<RangeRows, 2>& out) {
    std::map<const AddressSet*, BitRows::Row> by_set;
    BitRows::Row always = gather<AddressSet>(
        steps,
        [&](const Step& step) {
            const auto& sets =
                narrower(step, [&](const Conditions& c) { return !(c.*which).empty(); }).*which;
            return sets.empty() ? nullptr : &sets;
        },
        by_set);
    for (std::size_t v4 = 0; v4 < 2; ++v4) {
        for (const auto& [set, row] : by_set) {
            for (const AddressRange& range : set->ranges(v4 == 1))
                out[v4].add(range, row);
        }
        out[v4].build(always, rows_);
    }
}

void RuleIndex::build_ports(std::span<const Step> steps) {
    BitRows::Row always(rows_.words());
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const auto& ports = narrower(steps[i], [](const Conditions& c) { return !c.ports.empty(); }).ports;
        if (ports.empty()) set(always, i);
        BitRows::Row row(rows_.words());
        set(row, i);
        for (const PortRange& range : ports)
            ports_.add({range.first, range.last}, row);
    }
    ports_.build(always, rows_);
}

void RuleIndex::build_protocols(std::span<const Step> steps) {
    for (std::size_t protocol = 0; protocol < protocols_.size(); ++protocol) {
        BitRows::Row row(rows_.words());
        for (std::size_t i = 0; i < steps.size(); ++i) {
            const auto& wanted =
                narrower(steps[i], [](const Conditions& c) { return !c.protocols.empty(); }).protocols;
            bool is_wanted = std::ranges::find(wanted, static_cast<Protocol>(protocol)) != wanted.end();
            if (wanted.empty() || is_wanted) set(row, i);
        }
        protocols_[protocol] = rows_.intern(row);
    }
}

void RuleIndex::build_names(std::span<const Step> steps) {
    std::map<const NamePatterns*, BitRows::Row> by_set;
    BitRows::Row any = gather<NamePatterns>(
        steps,
        [](const Step& step) {
            const Conditions& when = narrower(step, [](const Conditions& c) { return c.asks_for_name(); });
            bool by_suffix = when.asks_for_name() && !when.no_server_name;
            return by_suffix ? &when.server_names : nullptr;
        },
        by_set);
    ByText<BitRows::Row> by_suffix;
    for (const auto& [set, row] : by_set) {
        for (const NamePattern& pattern : set->patterns()) {
            std::string suffix = pattern.required_suffix();
            if (suffix.empty()) {
                unite(any, row);
                continue;
            }
            labels_max_ = std::max(labels_max_, count_labels(suffix));
            unite(by_suffix.try_emplace(suffix, BitRows::Row(rows_.words())).first->second, row);
        }
    }
    any_name_ = rows_.intern(any);
    for (const auto& [suffix, row] : by_suffix)
        suffixes_.emplace(suffix, rows_.intern(row));
}

// Of several such conditions of a step, one is enough to leave it out.
void RuleIndex::build_lists(std::span<const Step> steps) {
    BitRows::Row any(rows_.words());
    BitRows::Row uncategorized(rows_.words());
    std::vector<BitRows::Row> listed(lists_max, BitRows::Row(rows_.words()));
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const Conditions& when = narrower(steps[i], [](const Conditions& c) { return c.asks_for_lists(); });
        const ListCondition& wanted = when.lists.empty() ? when.categories : when.lists;
        if (wanted.empty() && !when.uncategorized) set(any, i);
        if (wanted.empty() ? when.uncategorized : wanted.uncategorized) set(uncategorized, i);
        wanted.lists.for_each([&](std::size_t list) { set(listed[list], i); });
    }
    any_list_ = rows_.intern(any);
    uncategorized_ = rows_.intern(uncategorized);
    for (std::size_t list = 0; list < lists_max; ++list)
        listed_[list] = rows_.intern(listed[list]);
}

void RuleIndex::add_row(Bits& bits, std::uint32_t row) const {
    const std::uint64_t* const other = rows_.row(row);
    for (std::size_t w = 0; w < rows_.words(); ++w)
        bits[w] |= other[w];
}

void RuleIndex::find(const Facts& facts, Bits& bits) const {
    const std::size_t words = rows_.words();
    auto address_row = [&](const std::array<RangeRows, 2>& ranges, const IpAddress& address) {
        return rows_.row(ranges[address.is_v4() ? 1 : 0].find(number_of(address)));
    };
    const std::uint64_t* source = address_row(sources_, facts.source.address);
    const std::uint64_t* destination = address_row(destinations_, facts.destination.address);
    const std::uint64_t* port = rows_.row(ports_.find(facts.destination.port));
    const std::uint64_t* protocol = protocol_row(facts.claimed_protocol());
    // Of a client that waited for its server both words are true.
    const std::uint64_t* waited = facts.client_was_silent ? protocol_row(Protocol::server_first) : protocol;
    std::copy_n(rows_.row(any_name_), words, bits.begin());
    if (!facts.is_malformed()) {
        for_each_suffix(facts.server_name, labels_max_, [&](std::string_view suffix) {
            auto entry = suffixes_.find(suffix);
            if (entry != suffixes_.end()) add_row(bits, entry->second);
            return false;
        });
    }
    Bits lists;
    std::copy_n(rows_.row(any_list_), words, lists.begin());
    facts.lists.for_each([&](std::size_t list) { add_row(lists, listed_[list]); });
    if (facts.is_uncategorized()) add_row(lists, uncategorized_);
    for (std::size_t w = 0; w < words; ++w)
        bits[w] &= source[w] & destination[w] & port[w] & (protocol[w] | waited[w]) & lists[w];
}

}  // namespace sluice::policy
