#pragma once
// IP addresses and prefixes, without sockets. An IPv4 address is kept as such, never as an IPv4-mapped one: a
// ::ffff:a.b.c.d that comes in is taken for a.b.c.d, so that no rule can be side-stepped by the notation.
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice::policy {

class IpAddress {
  public:
    IpAddress() = default;  // 0.0.0.0
    static IpAddress v4(std::span<const std::uint8_t, 4> network_order);
    static IpAddress v6(std::span<const std::uint8_t, 16> network_order);  // v4-mapped becomes IPv4
    static std::optional<IpAddress> parse(
        std::string_view text);  // dotted quad or RFC 4291 text, no brackets, no zone

    bool is_v4() const { return v4_; }
    std::span<const std::uint8_t> bytes() const { return {bytes_.data(), v4_ ? 4u : 16u}; }  // network order
    std::string to_string() const;                                                           // RFC 5952

    friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

  private:
    bool v4_ = true;
    std::array<std::uint8_t, 16> bytes_{};  // first 4 used for IPv4
};

struct Endpoint {
    IpAddress address;
    std::uint16_t port = 0;

    static std::optional<Endpoint> parse(std::string_view text);  // "192.0.2.1:443" or "[2001:db8::1]:443"
    std::string to_string() const;
    friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// A prefix. A bare address is a prefix of full length. Host bits must be zero: 10.0.0.1/8 is an error,
// not 10.0.0.0/8.
class Cidr {
  public:
    static std::optional<Cidr> parse(std::string_view text);
    bool contains(const IpAddress& address) const;  // false when the families differ
    const IpAddress& address() const { return address_; }
    unsigned length() const { return length_; }
    std::string to_string() const;
    friend bool operator==(const Cidr&, const Cidr&) = default;

  private:
    IpAddress address_;
    unsigned length_ = 32;
};

// An address as a number; IPv4 and IPv6 are numbered apart.
__extension__ using AddressNumber = unsigned __int128;
AddressNumber number_of(const IpAddress& address);
struct AddressRange {
    AddressNumber first;
    AddressNumber last;  // inclusive
};
AddressRange range_of(const Cidr& prefix);

struct PortRange {
    std::uint16_t first = 0;
    std::uint16_t last = 0;  // inclusive

    static std::optional<PortRange> parse(std::string_view text);  // "443" or "8000-8100"; 1..65535
    friend bool operator==(const PortRange&, const PortRange&) = default;
    bool contains(std::uint16_t port) const { return first <= port && port <= last; }
    std::string to_string() const;
};

}  // namespace sluice::policy
