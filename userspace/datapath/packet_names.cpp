#include "userspace/datapath/packet_names.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cstring>

#include "bpf/packet_abi.h"
#include "userspace/datapath/monotonic.h"

namespace sluice::datapath {

namespace {

// Looking for unused numbers walks over all flows. While there are none, it is not worth more often.
constexpr std::uint64_t sweep_interval_ns = 10'000'000'000;

// A rule's text has NULs within.
std::string text_of(const packet_name& name) {
    std::size_t bytes = PACKET_NAME_BYTES;
    while (bytes > 0 && name.text[bytes - 1] == '\0')
        --bytes;
    return {name.text, bytes};
}

}  // namespace

PacketNames::PacketNames(int map) : map_(map) {
    std::vector<bool> taken(PACKET_NAMES_MAX + 1);
    __u32 number = 0;
    int error = bpf_map_get_next_key(map_, nullptr, &number);
    while (error == 0) {
        packet_name name{};
        if (number > 0 && number <= PACKET_NAMES_MAX && bpf_map_lookup_elem(map_, &number, &name) == 0) {
            taken[number] = true;
            numbers_.emplace(text_of(name), static_cast<std::uint16_t>(number));
        }
        error = bpf_map_get_next_key(map_, &number, &number);
    }
    for (__u32 candidate = PACKET_NAMES_MAX; candidate > 0; --candidate) {
        if (!taken[candidate]) free_.push_back(static_cast<std::uint16_t>(candidate));
    }
}

std::uint16_t PacketNames::intern(std::string_view text, const MarkUsed& mark_used) {
    if (text.empty()) return 0;
    std::string kept(text.substr(0, PACKET_NAME_BYTES - 1));
    if (const auto known = numbers_.find(kept); known != numbers_.end()) return known->second;
    const __u32 number = free_number(mark_used);
    if (number == 0) return 0;
    packet_name name{};
    std::memcpy(name.text, kept.data(), kept.size());
    if (bpf_map_update_elem(map_, &number, &name, BPF_ANY) != 0) return 0;
    free_.pop_back();
    numbers_.emplace(std::move(kept), static_cast<std::uint16_t>(number));
    return static_cast<std::uint16_t>(number);
}

std::uint16_t PacketNames::free_number(const MarkUsed& mark_used) {
    if (free_.empty()) sweep(mark_used);
    return free_.empty() ? std::uint16_t{0} : free_.back();
}

void PacketNames::sweep(const MarkUsed& mark_used) {
    const std::uint64_t now_ns = monotonic_ns();
    if (swept_ns_ != 0 && now_ns - swept_ns_ < sweep_interval_ns) return;
    swept_ns_ = now_ns;
    std::vector<bool> used(PACKET_NAMES_MAX + 1);
    mark_used(used);
    std::erase_if(numbers_, [&](const auto& entry) {
        const __u32 number = entry.second;
        if (used[number]) return false;
        bpf_map_delete_elem(map_, &number);
        free_.push_back(entry.second);
        return true;
    });
}

std::string PacketNames::read(int map, std::uint16_t number) {
    packet_name name{};
    const __u32 key = number;
    if (number == 0 || bpf_map_lookup_elem(map, &key, &name) != 0) return {};
    return text_of(name);
}

}  // namespace sluice::datapath
