#pragma once
// Addresses of network cards, and blocks of them as their makers have them.
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::policy {

// EUI-48: six bytes, as on the wire.
class MacAddress {
  public:
    MacAddress() = default;  // 00:00:00:00:00:00
    explicit MacAddress(const std::array<std::uint8_t, 6>& bytes) : bytes_(bytes) {}
    // "aa:bb:cc:dd:ee:ff" or "AA-BB-CC-DD-EE-FF"; two digits for each byte.
    static std::optional<MacAddress> parse(std::string_view text);

    std::uint64_t number() const;   // 48 bits; the first byte is the highest
    std::string to_string() const;  // "aa:bb:cc:dd:ee:ff"
    friend auto operator<=>(const MacAddress&, const MacAddress&) = default;

  private:
    std::array<std::uint8_t, 6> bytes_{};
};

// A block as the IEEE gives it to a maker: its first bits. A bare address is a block of one.
class MacPrefix {
  public:
    // An address; the first three bytes of one ("aa:bb:cc"); or an address and how many bits of it count,
    // "aa:bb:cc:d0:00:00/28", where the others must be zero.
    static std::optional<MacPrefix> parse(std::string_view text);

    std::uint64_t first() const { return address_.number(); }
    std::uint64_t last() const;  // inclusive
    bool contains(const MacAddress& address) const;
    std::string to_string() const;  // without the length when it is an address
    friend bool operator==(const MacPrefix&, const MacPrefix&) = default;

  private:
    MacAddress address_;
    unsigned length_ = 48;
};

// Blocks that are looked up by address, in time that grows with the logarithm of their number.
class MacSet {
  public:
    // `name`: of a set that the file names; empty for what stands in a rule itself.
    explicit MacSet(std::vector<MacPrefix> prefixes, std::string name = {});

    bool contains(const MacAddress& address) const;          // allocates nothing
    const MacPrefix* find(const MacAddress& address) const;  // the first that holds it, as written; or null
    const std::vector<MacPrefix>& prefixes() const { return prefixes_; }
    const std::string& name() const { return name_; }

  private:
    std::vector<MacPrefix> prefixes_;
    std::string name_;
    std::vector<MacPrefix> apart_;  // sorted; none within another
};

}  // namespace sluice::policy
