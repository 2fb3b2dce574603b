#pragma once
// DNS answers that pass through the gateway to captured clients: a rule of the capture's table (capture.cpp)
// copies them to netfilter's log, where this reads them.
//
// Whom the rule believes is what matters, as a client would gladly tell the gateway which addresses a name
// has. So only UDP from port 53 of an address that the operator names; on its way from an interface that is
// not captured, and by which that address is reached, to one that is. Left are those who can send packets in
// a name server's name from where it is.
#include <cstddef>
#include <functional>
#include <utility>

#include "userspace/datapath/fd.h"

namespace sluice::datapath {

// Of netfilter's log; nobody else on the host may use it.
inline constexpr unsigned dns_log_group = 15001;
// Of a packet. What is longer is cut, and then not understood: nobody sends such answers by UDP.
inline constexpr unsigned dns_log_bytes = 4096;

class DnsWatch {
  public:
    // Before the rules are installed, in the network namespace of the calling thread. Throws CaptureError.
    DnsWatch();

    int fd() const { return socket_.get(); }  // readable when there are some
    // Hands the payload of each datagram that is there to `use`.
    void read(const std::function<void(const unsigned char* payload, std::size_t bytes)>& use);

  private:
    Fd socket_;
};

// Of a packet from its IP header on: the payload of its UDP datagram, and its length. {nullptr, 0}: it is no
// UDP, a fragment, or cut. For tests.
std::pair<const unsigned char*, std::size_t> udp_payload(const unsigned char* packet, std::size_t bytes);

}  // namespace sluice::datapath
