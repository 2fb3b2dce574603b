#pragma once
// A name server of the test's own making, by UDP, which answers as a function says: otherwise each time,
// late, or not at all.
#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "policy/address.h"
#include "tests/support/netns.h"

namespace sluice::test {

struct DnsReply {
    std::vector<std::string> addresses = {};  // of the family that is asked for
    unsigned ttl_s = 60;
    std::string alias = {};  // the name is another one for this, whose addresses they are
    unsigned rcode = 0;      // 2: SERVFAIL, 3: NXDOMAIN
    bool silent = false;
};

// The message that answers `query`; empty when it is none.
std::string dns_message(std::string_view query, const DnsReply& reply);
// What a client asks for the addresses of a family.
std::string dns_query(std::string_view name, bool v6 = false, std::uint16_t id = 0x5151);

// From an address of that host's own; `from` may have port 0.
void send_datagram(const Netns& netns, const policy::Endpoint& from, const policy::Endpoint& to,
                   std::string_view payload);
// As a host does that looks a name up: returns when it has the answer, which may be empty at the deadline.
std::string ask_name_server(const Netns& netns, const policy::Endpoint& server, std::string_view name);

class NameServer {
  public:
    // Of one question; called on the server's thread.
    using Answer = std::function<DnsReply(const std::string& name, bool v6)>;

    // In `netns`, or where the test is. Port 0: any, see port().
    NameServer(const Netns* netns, const std::string& address, std::uint16_t port, Answer answer);
    ~NameServer();
    NameServer(const NameServer&) = delete;
    NameServer& operator=(const NameServer&) = delete;

    std::uint16_t port() const { return port_; }
    unsigned questions() const { return questions_; }

  private:
    void serve();

    int socket_;
    std::uint16_t port_ = 0;
    Answer answer_;
    std::atomic<unsigned> questions_ = 0;
    std::atomic<bool> stopping_ = false;
    std::jthread thread_;
};

}  // namespace sluice::test
