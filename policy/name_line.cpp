#include <algorithm>
#include <cstring>

#include "policy/name_set.h"

namespace sluice::policy {
namespace {

// A group above 14 goes on beside the rest.
constexpr std::uint32_t more = 15;

}  // namespace

NameLine::Name NameLine::name(std::uint32_t i) const {
    const std::uint32_t count = names();
    const std::uint8_t* const heads = line_ + 1 + 2 * count;
    const std::uint8_t* at = heads + count;
    for (std::uint32_t before = 0;; ++before) {
        const std::uint32_t head = heads[before];
        const std::uint32_t tag_here = tag(before);
        Name name{.remainder = tag_here & ((1u << remainder_bits) - 1),
                  .away = tag_here >> remainder_bits & away_max,
                  .group = head >> 5 | tag_here >> 15 << 3,
                  .rest_bytes = head & 31,
                  .rest = nullptr};
        if (name.group == more) {
            name.group += at[0] < 255 ? at[0] : at[1] | std::uint32_t{at[2]} << 8;
            at += at[0] < 255 ? 1 : 3;
        }
        name.rest = at;
        if (before == i) return name;
        at += name.rest_bytes;
    }
}

// Like name(), but trusting nothing.
bool NameLine::is_sound() const {
    const std::uint32_t count = names();
    std::size_t at = 1 + 3 * std::size_t{count};
    if (count > names_max || at > bytes) return false;
    const std::uint8_t* const heads = line_ + 1 + 2 * count;
    for (std::uint32_t i = 0; i < count; ++i) {
        const unsigned group = unsigned{heads[i]} >> 5 | unsigned{tag(i)} >> 15 << 3;
        if (group == more) {
            if (at >= bytes) return false;
            at += line_[at] < 255 ? 1 : 3;
        }
        const std::uint32_t rest_bytes = heads[i] & 31u;
        at += rest_bytes;
        if (at > bytes || rest_bytes > NameKey::rest_bytes_max) return false;
        if (rest_bytes > 0 && line_[at - 1] == 0) return false;
    }
    return true;
}

void NameLine::write(std::uint8_t* line, std::span<const Name> names, std::uint32_t reach) {
    const auto byte = [](std::uint32_t value) { return static_cast<std::uint8_t>(value); };
    std::uint8_t* tags = line + 1;
    std::uint8_t* heads = tags + 2 * names.size();
    std::uint8_t* at = heads + names.size();
    line[0] = byte(static_cast<std::uint32_t>(names.size()) << 3 | std::min(reach, 7u));
    for (const Name& name : names) {
        const std::uint32_t group = name.group < more ? name.group : more;
        const std::uint32_t tag = name.remainder | name.away << remainder_bits | (group >> 3) << 15;
        *tags++ = byte(tag);
        *tags++ = byte(tag >> 8);
        *heads++ = byte(name.rest_bytes | group << 5);
        if (name.group >= more + 255) {
            *at++ = 255;
            *at++ = byte(name.group - more);
            *at++ = byte((name.group - more) >> 8);
        } else if (name.group >= more) {
            *at++ = byte(name.group - more);
        }
        std::memcpy(at, name.rest, name.rest_bytes);
        at += name.rest_bytes;
    }
}

}  // namespace sluice::policy
