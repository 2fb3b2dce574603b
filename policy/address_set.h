#pragma once
// Prefixes that are looked up by address, in time that grows with the logarithm of their number.
#include <span>
#include <string>
#include <vector>

#include "policy/address.h"

namespace sluice::policy {

class AddressSet {
  public:
    // `name`: of a set that the file names; empty for what stands in a rule itself.
    explicit AddressSet(std::vector<Cidr> prefixes, std::string name = {});

    bool contains(const IpAddress& address) const;     // allocates nothing
    const Cidr* find(const IpAddress& address) const;  // the first prefix that holds it, as written; or null
    const std::vector<Cidr>& prefixes() const { return prefixes_; }
    const std::string& name() const { return name_; }
    // All of one family: sorted, and apart from each other.
    std::span<const AddressRange> ranges(bool v4) const { return v4 ? v4_ : v6_; }

  private:
    std::vector<Cidr> prefixes_;
    std::string name_;
    std::vector<AddressRange> v4_;
    std::vector<AddressRange> v6_;
};

}  // namespace sluice::policy
