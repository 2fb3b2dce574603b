#pragma once
// Which flows `sluice flows` shows. Every term must hold:
//
//   source=10.0.0.0/8        address or prefix         destination=192.0.2.7
//   port=443                 of the destination        protocol=tls   mode=relay   state=spliced
//   rule=default   id=17     via=connect               how the flow came: captured, connect or socks5
//
//   server_name=suffix:example.com   any notation of the policy's names
//   word                             occurs in the source, destination, server name, asked name or rule
#include <expected>
#include <functional>
#include <string>
#include <vector>

#include "bpf/flow_abi.h"

namespace sluice::cli {

class FlowFilter {
  public:
    // The error is one sentence.
    static std::expected<FlowFilter, std::string> parse(const std::vector<std::string>& terms);
    bool matches(const flow_record& flow) const;

  private:
    std::vector<std::function<bool(const flow_record&)>> conditions_;
};

}  // namespace sluice::cli
