#pragma once
// The part of check_host() that reads other people's rules: nftables (which shows those of iptables-nft too)
// and `ip rule`.
#include <vector>

#include "userspace/datapath/host_check.h"

namespace sluice::datapath {

void check_routing_rules(const CaptureConfig& config, std::vector<Finding>& findings);
void check_firewall(const CaptureConfig& config, std::vector<Finding>& findings);

}  // namespace sluice::datapath
