#include "userspace/names/name_evidence.h"

#include <algorithm>
#include <iterator>

namespace sluice::names {

bool may_be_a_server(const policy::IpAddress& address) {
    const auto bytes = address.bytes();
    if (address.is_v4()) {
        const bool link_local = bytes[0] == 169 && bytes[1] == 254;
        return bytes[0] != 0 && bytes[0] != 127 && bytes[0] < 224 && !link_local;
    }
    // `::` and `::1`, and IPv4 in another notation (RFC 4291 2.5.5.1).
    const bool begins_with_zeros = std::ranges::all_of(bytes.first(12), [](auto byte) { return byte == 0; });
    const bool link_local = bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
    return !begins_with_zeros && !link_local && bytes[0] != 0xff;
}

NameEvidence::Entry* NameEvidence::find(const Question& question, Clock::time_point now) {
    const auto found = by_question_.find(question);
    if (found == by_question_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    Entry& entry = *found->second;
    addresses_ -= std::erase_if(entry.seen, [&](const Seen& seen) { return seen.until <= now; });
    return &entry;
}

NameEvidence::Entry& NameEvidence::entry(const Question& question, Clock::time_point now) {
    if (Entry* known = find(question, now)) return *known;
    while (!entries_.empty() && entries_.size() >= limits_.names)
        forget_oldest();
    entries_.push_front({.question = question, .seen = {}});
    by_question_.emplace(question, entries_.begin());
    return entries_.front();
}

void NameEvidence::forget_oldest() {
    addresses_ -= entries_.back().seen.size();
    by_question_.erase(entries_.back().question);
    entries_.pop_back();
}

// Whether it is new.
bool NameEvidence::see(Entry& entry, const policy::IpAddress& address, Clock::time_point until) {
    const auto known = std::ranges::find(entry.seen, address, &Seen::address);
    const bool is_new = known == entry.seen.end();
    if (!is_new) until = std::max(until, known->until);
    if (!is_new) entry.seen.erase(known);
    if (is_new) ++addresses_;
    entry.seen.insert(entry.seen.begin(), {address, until});
    if (entry.seen.size() > limits_.addresses_of_name) {
        entry.seen.pop_back();
        --addresses_;
    }
    return is_new;
}

void NameEvidence::answer(const Question& question, const std::vector<policy::IpAddress>& addresses,
                          std::chrono::seconds ttl, Source source, Clock::time_point now) {
    if (addresses.empty() && source == Source::overheard) return;
    Entry& entry = this->entry(question, now);
    bool grew = false;
    std::size_t taken = 0;
    // Backwards, as each goes to the front: the order that the name server gave them is kept.
    for (auto address = addresses.rbegin(); address != addresses.rend(); ++address) {
        if (!may_be_a_server(*address) || family_of(*address) != question.family) continue;
        if (++taken > limits_.addresses_of_name) break;
        grew = see(entry, *address, now + std::clamp<std::chrono::seconds>(ttl, grace, ttl_max)) || grew;
    }
    const auto good_for = taken == 0 ? negative_ttl : std::clamp<std::chrono::seconds>(ttl, ttl_min, ttl_max);
    entry.current_until = now + good_for;
    if (source == Source::asked) {
        entry.is_answered = true;
        entry.questions_in_a_row = grew ? entry.questions_in_a_row + 1 : questions_in_a_row_max;
        entry.may_ask_from = now;
        if (entry.questions_in_a_row >= questions_in_a_row_max) {
            entry.may_ask_from = now + (taken == 0 ? negative_ttl : ask_again_interval);
            entry.questions_in_a_row = 0;
        }
    }
    // The one just filled is the last to go.
    while (addresses_ > limits_.addresses && entries_.size() > 1)
        forget_oldest();
}

void NameEvidence::fail(const Question& question, Clock::time_point now) {
    Entry& entry = this->entry(question, now);
    entry.is_answered = false;
    entry.questions_in_a_row = 0;
    entry.may_ask_from = now + failure_ttl;
}

NameEvidence::View NameEvidence::look(const Question& question, const policy::IpAddress& address,
                                      Clock::time_point now) {
    const Entry* entry = find(question, now);
    if (entry == nullptr) return {};
    View view{.is_address = std::ranges::find(entry->seen, address, &Seen::address) != entry->seen.end(),
              .is_current = now < entry->current_until,
              .is_answered = entry->is_answered,
              .may_ask = entry->may_ask_from <= now,
              .addresses = {}};
    std::ranges::transform(entry->seen, std::back_inserter(view.addresses), &Seen::address);
    return view;
}

void NameEvidence::clear() {
    entries_.clear();
    by_question_.clear();
    addresses_ = 0;
}

}  // namespace sluice::names
