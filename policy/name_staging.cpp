#include "policy/name_staging.h"

#include <numeric>
#include <random>

namespace sluice::policy {
namespace {

std::uint64_t random_seed() {
    std::random_device device;
    return std::uint64_t{device()} << 32 | device();
}

}  // namespace

NameStaging::NameStaging(const NameCode& code, NameSpread spread)
    : code_(code),
      spread_(spread),
      seed_(random_seed()),
      keys_(seed_, spread.key_bits),
      begin_(std::size_t{spread.lines} + 1),
      end_(spread.lines) {}

void NameStaging::place(std::string_view name) {
    code_.encode(name, coded_);
    bits_ = coded_.borders[coded_.borders_count - 1].bits;
    keys_.find(coded_, bits_, key_);
    bucket_ = key_.key / spread_.keys_per_line;
    is_long_ = key_.rest_bytes > NameKey::rest_bytes_max;
    labels_min_ = std::min(labels_min_, static_cast<std::uint32_t>(coded_.borders_count));
}

void NameStaging::make_room() {
    count_announced();
    std::inclusive_scan(begin_.begin(), begin_.end(), begin_.begin());
    std::copy(begin_.begin(), begin_.end() - 1, end_.begin());
    memory_ = NameSetMemory(begin_.back() + 1);
}

void NameStaging::put(std::string_view name, std::uint32_t group) {
    place(name);
    if (is_long_) {
        std::string code(bits_ / 64 * 8 + 8, '\0');
        for (std::uint32_t i = 0; i <= bits_ / 64; ++i) {
            const std::uint64_t word = ended(coded_, bits_, i);
            std::memcpy(code.data() + i * 8, &word, sizeof word);
        }
        code.resize(bits_ / 8 + 1);
        long_puts_.emplace_back(std::move(code), group);
        return;
    }
    Head entry{};
    entry.remainder = static_cast<std::uint16_t>(key_.key - bucket_ * spread_.keys_per_line);
    entry.group = static_cast<std::uint16_t>(group);
    entry.rest_bytes = static_cast<std::uint8_t>(key_.rest_bytes);
    __builtin_prefetch(&end_[bucket_], 1);
    waiting_.push_back({bucket_, entry, {key_.rest[0], key_.rest[1], key_.rest[2]}});
    if (waiting_.size() == batch) put_waiting();
}

void NameStaging::put_waiting() {
    for (const Waiting& name : waiting_)
        __builtin_prefetch(data() + end_[name.bucket], 1);
    for (const Waiting& name : waiting_) {
        std::uint8_t* const to = data() + end_[name.bucket];
        std::memcpy(to, &name.head, head_bytes);
        std::memcpy(to + head_bytes, name.rest.data(), name.head.rest_bytes);
        end_[name.bucket] += head_bytes + name.head.rest_bytes;
    }
    waiting_.clear();
}

void NameStaging::merge(NameGroups& groups) {
    put_waiting();
    for (std::uint64_t bucket = 0; bucket < end_.size(); ++bucket)
        merge_bucket(bucket, groups);
    for (auto& [code, group] : std::exchange(long_puts_, {})) {
        auto [found, is_new] = long_names_.emplace(std::move(code), group);
        if (!is_new) found->second = groups.both(found->second, group);
    }
    for_each([&](std::uint64_t, const NameLine::Name& name) {
        ++names_;
        ++groups[name.group].names;
    });
    for (const auto& [code, group] : long_names_) {
        ++names_;
        ++groups[group].names;
    }
}

void NameStaging::merge_bucket(std::uint64_t bucket, NameGroups& groups) {
    entries_.clear();
    for (std::uint64_t at = begin_[bucket]; at < end_[bucket];) {
        const Head entry = head(at);
        entries_.push_back({entry, data() + at + head_bytes});
        at += head_bytes + entry.rest_bytes;
    }
    std::ranges::sort(entries_, [](const Entry& left, const Entry& right) { return left < right; });
    sorted_.clear();
    std::size_t last = 0;
    const Entry* before = nullptr;
    for (const Entry& entry : entries_) {
        if (before != nullptr && before->is_same(entry)) {
            Head kept;
            std::memcpy(&kept, sorted_.data() + last, head_bytes);
            kept.group = static_cast<std::uint16_t>(groups.both(kept.group, entry.head.group));
            std::memcpy(sorted_.data() + last, &kept, head_bytes);
            continue;
        }
        before = &entry;
        last = sorted_.size();
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(&entry.head);
        sorted_.insert(sorted_.end(), bytes, bytes + head_bytes);
        sorted_.insert(sorted_.end(), entry.rest, entry.rest + entry.head.rest_bytes);
    }
    std::ranges::copy(sorted_, data() + begin_[bucket]);
    end_[bucket] = begin_[bucket] + sorted_.size();
}

}  // namespace sluice::policy
