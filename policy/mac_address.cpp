#include "policy/mac_address.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace sluice::policy {
namespace {

constexpr unsigned mac_bits = 48;
constexpr std::size_t maker_bytes = 3;  // of an OUI
constexpr std::size_t text_bytes = 17;  // "aa:bb:cc:dd:ee:ff"

std::optional<std::uint8_t> parse_byte(std::string_view digits) {
    std::uint8_t byte = 0;
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (error != std::errc() || stop != digits.data() + digits.size()) return std::nullopt;
    return byte;
}

// Two digits for each byte, the same mark between all of them.
std::optional<std::size_t> parse_bytes(std::string_view text, std::array<std::uint8_t, 6>& bytes) {
    const std::size_t count = (text.size() + 1) / 3;
    if (text.size() % 3 != 2 || count > bytes.size()) return std::nullopt;
    for (std::size_t i = 0; i < count; ++i) {
        const auto byte = parse_byte(text.substr(i * 3, 2));
        const bool is_apart = i == 0 || ((text[2] == ':' || text[2] == '-') && text[i * 3 - 1] == text[2]);
        if (!byte || !is_apart) return std::nullopt;
        bytes[i] = *byte;
    }
    return count;
}

std::uint64_t rest_after(unsigned length) {
    return (std::uint64_t{1} << (mac_bits - length)) - 1;
}

std::optional<unsigned> parse_length(std::string_view text) {
    unsigned length = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), length);
    const bool is_decimal = error == std::errc() && stop == text.data() + text.size();
    if (!is_decimal || length > mac_bits || (text.size() > 1 && text.front() == '0')) return std::nullopt;
    return length;
}

}  // namespace

std::optional<MacAddress> MacAddress::parse(std::string_view text) {
    std::array<std::uint8_t, 6> bytes{};
    if (text.size() != text_bytes || !parse_bytes(text, bytes)) return std::nullopt;
    return MacAddress(bytes);
}

std::uint64_t MacAddress::number() const {
    std::uint64_t number = 0;
    for (const std::uint8_t byte : bytes_)
        number = number << 8 | byte;
    return number;
}

std::string MacAddress::to_string() const {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    for (const std::uint8_t byte : bytes_) {
        if (!out.empty()) out += ':';
        out += digits[byte >> 4];
        out += digits[byte & 15];
    }
    return out;
}

std::optional<MacPrefix> MacPrefix::parse(std::string_view text) {
    const std::size_t slash = std::min(text.find('/'), text.size());
    const bool has_length = slash < text.size();
    std::array<std::uint8_t, 6> bytes{};
    const auto count = parse_bytes(text.substr(0, slash), bytes);
    MacPrefix prefix;
    prefix.address_ = MacAddress(bytes);
    if (count == maker_bytes && !has_length) {
        prefix.length_ = maker_bytes * 8;
        return prefix;
    }
    if (count != bytes.size()) return std::nullopt;
    if (!has_length) return prefix;
    const auto length = parse_length(text.substr(slash + 1));
    if (!length || (prefix.first() & rest_after(*length)) != 0) return std::nullopt;
    prefix.length_ = *length;
    return prefix;
}

std::uint64_t MacPrefix::last() const {
    return first() | rest_after(length_);
}

bool MacPrefix::contains(const MacAddress& address) const {
    return first() <= address.number() && address.number() <= last();
}

std::string MacPrefix::to_string() const {
    return address_.to_string() + (length_ == mac_bits ? "" : "/" + std::to_string(length_));
}

// Blocks either nest or are apart: sorted by their begin, the one that holds others comes first.
MacSet::MacSet(std::vector<MacPrefix> prefixes, std::string name)
    : prefixes_(std::move(prefixes)), name_(std::move(name)) {
    std::vector<MacPrefix> sorted = prefixes_;
    std::ranges::sort(sorted, [](const MacPrefix& a, const MacPrefix& b) {
        return a.first() != b.first() ? a.first() < b.first() : a.last() > b.last();
    });
    for (const MacPrefix& prefix : sorted) {
        if (apart_.empty() || prefix.first() > apart_.back().last()) apart_.push_back(prefix);
    }
}

bool MacSet::contains(const MacAddress& address) const {
    const auto after = std::ranges::upper_bound(apart_, address.number(), {}, &MacPrefix::first);
    return after != apart_.begin() && (after - 1)->contains(address);
}

const MacPrefix* MacSet::find(const MacAddress& address) const {
    const auto prefix = std::ranges::find_if(prefixes_, [&](const auto& p) { return p.contains(address); });
    return prefix == prefixes_.end() ? nullptr : &*prefix;
}

}  // namespace sluice::policy
