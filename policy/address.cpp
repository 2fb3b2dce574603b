#include "policy/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace sluice::policy {
namespace {

constexpr std::array<std::uint8_t, 12> v4_mapped_prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

// Decimal digits only: no sign, no space, no leading zero (which some would read as octal).
std::optional<unsigned> parse_decimal(std::string_view text, unsigned max) {
    if (text.empty() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
    unsigned value = 0;
    const char* end = text.data() + text.size();
    auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stop != end || value > max) return std::nullopt;
    return value;
}

std::optional<std::array<std::uint8_t, 16>> parse_v6(std::string_view text) {
    std::array<std::uint8_t, 16> bytes{};
    if (text.find('\0') != text.npos) return std::nullopt;
    if (inet_pton(AF_INET6, std::string(text).c_str(), bytes.data()) != 1) return std::nullopt;
    return bytes;
}

bool shares_prefix(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b, unsigned length) {
    unsigned whole = length / 8;
    if (!std::equal(a.begin(), a.begin() + whole, b.begin())) return false;
    unsigned rest = length % 8;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

bool host_bits_are_zero(std::span<const std::uint8_t> bytes, unsigned length) {
    for (unsigned bit = length; bit < bytes.size() * 8; ++bit) {
        if (bytes[bit / 8] & (0x80 >> bit % 8)) return false;
    }
    return true;
}

}  // namespace

IpAddress IpAddress::v4(std::span<const std::uint8_t, 4> network_order) {
    IpAddress address;
    std::copy(network_order.begin(), network_order.end(), address.bytes_.begin());
    return address;
}

IpAddress IpAddress::v6(std::span<const std::uint8_t, 16> network_order) {
    if (std::equal(v4_mapped_prefix.begin(), v4_mapped_prefix.end(), network_order.begin())) {
        return v4(network_order.last<4>());
    }
    IpAddress address;
    address.v4_ = false;
    std::copy(network_order.begin(), network_order.end(), address.bytes_.begin());
    return address;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
    if (text.find('\0') != text.npos) return std::nullopt;
    std::array<std::uint8_t, 4> bytes{};
    if (inet_pton(AF_INET, std::string(text).c_str(), bytes.data()) == 1) return v4(bytes);
    if (auto wide = parse_v6(text)) return v6(*wide);
    return std::nullopt;
}

std::string IpAddress::to_string() const {
    char text[INET6_ADDRSTRLEN];
    inet_ntop(v4_ ? AF_INET : AF_INET6, bytes_.data(), text, sizeof text);
    return text;
}

std::optional<Endpoint> Endpoint::parse(std::string_view text) {
    std::size_t colon = text.rfind(':');
    if (colon == text.npos) return std::nullopt;
    std::string_view host = text.substr(0, colon);
    bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) host = host.substr(1, host.size() - 2);
    // Without brackets nobody can tell where an IPv6 address ends and the port begins.
    if (bracketed != (host.find(':') != host.npos)) return std::nullopt;
    auto address = IpAddress::parse(host);
    auto port = parse_decimal(text.substr(colon + 1), 65535);
    if (!address || !port) return std::nullopt;
    return Endpoint{*address, static_cast<std::uint16_t>(*port)};
}

std::string Endpoint::to_string() const {
    std::string host = address.to_string();
    return (address.is_v4() ? host : "[" + host + "]") + ":" + std::to_string(port);
}

std::optional<Cidr> Cidr::parse(std::string_view text) {
    std::size_t slash = text.find('/');
    std::string_view host = text.substr(0, slash);
    auto address = IpAddress::parse(host);
    if (!address) return std::nullopt;
    bool written_as_v6 = host.find(':') != host.npos;
    unsigned length = written_as_v6 ? 128 : 32;
    if (slash != text.npos) {
        auto number = parse_decimal(text.substr(slash + 1), length);
        if (!number) return std::nullopt;
        length = *number;
    }
    if (written_as_v6 && address->is_v4()) {
        // ::ffff:10.0.0.0/104 is 10.0.0.0/8; a prefix that ends before the IPv4 part has host bits set in
        // ffff.
        if (length < 96) return std::nullopt;
        length -= 96;
    }
    if (!host_bits_are_zero(address->bytes(), length)) return std::nullopt;
    Cidr cidr;
    cidr.address_ = *address;
    cidr.length_ = length;
    return cidr;
}

bool Cidr::contains(const IpAddress& address) const {
    return address.is_v4() == address_.is_v4() && shares_prefix(address.bytes(), address_.bytes(), length_);
}

std::string Cidr::to_string() const {
    return address_.to_string() + "/" + std::to_string(length_);
}

AddressNumber number_of(const IpAddress& address) {
    AddressNumber number = 0;
    for (std::uint8_t byte : address.bytes())
        number = number << 8 | byte;
    return number;
}

AddressRange range_of(const Cidr& prefix) {
    AddressNumber first = number_of(prefix.address());
    unsigned free_bits = (prefix.address().is_v4() ? 32 : 128) - prefix.length();
    AddressNumber rest = free_bits == 128 ? ~AddressNumber{0} : (AddressNumber{1} << free_bits) - 1;
    return {first, first | rest};
}

std::optional<PortRange> PortRange::parse(std::string_view text) {
    std::size_t dash = text.find('-');
    auto first = parse_decimal(text.substr(0, dash), 65535);
    auto last = dash == text.npos ? first : parse_decimal(text.substr(dash + 1), 65535);
    if (!first || !last || *first == 0 || *last < *first) return std::nullopt;
    return PortRange{static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
}

std::string PortRange::to_string() const {
    return first == last ? std::to_string(first) : std::to_string(first) + "-" + std::to_string(last);
}

}  // namespace sluice::policy
