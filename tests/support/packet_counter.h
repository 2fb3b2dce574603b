#pragma once
// Counts packets on their way into or out of a namespace: what was on the wire, not what a program made of
// it.
#include <cstdint>
#include <string>

#include "tests/support/netns.h"

namespace sluice::test {

class PacketCounter {
  public:
    // `match`: an nftables expression, e.g. "tcp sport 443 tcp flags & (fin | rst) != 0". `hook`: input,
    // output, forward, prerouting or postrouting. The namespace lives as long as the counter at least.
    PacketCounter(const Netns& netns, const std::string& match, const std::string& hook = "input");
    ~PacketCounter();
    PacketCounter(const PacketCounter&) = delete;
    PacketCounter& operator=(const PacketCounter&) = delete;

    std::uint64_t packets() const;

  private:
    const Netns& netns_;
    std::string table_;
};

}  // namespace sluice::test
