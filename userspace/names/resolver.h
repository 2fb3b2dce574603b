#pragma once
// The gateway's own questions to name servers, and what is known from all answers. One thread of its own,
// which begins with the first question; any thread may ask, and none is ever blocked for longer than a look
// into a table takes.
//
// Of the same question there is one under way at most, whoever waits for it. Questions that one client causes
// are limited, so that it cannot use up what there is for all.
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "policy/address.h"
#include "userspace/names/name_evidence.h"

namespace sluice::names {

// At once. A question takes a datagram's memory, here and at the name server.
inline constexpr std::size_t questions_max = 512;
inline constexpr std::size_t questions_of_client_max = 32;
// For a name server to answer, and how often each is tried; the second time is twice as long.
inline constexpr int server_timeout_ms = 1000;
inline constexpr int server_tries = 2;
inline constexpr std::uint16_t dns_port = 53;

struct ResolverTotals {
    std::uint64_t names = 0;  // of which something is known, with a family each
    std::uint64_t addresses = 0;
    std::uint64_t questions = 0;  // ever sent; retries are not counted
    std::uint64_t failures = 0;   // that nobody answered
    std::uint64_t overheard = 0;  // answers
};

class Resolver {
  public:
    using Servers = std::vector<policy::Endpoint>;

    // `servers`: in the order in which they are asked; none: those of /etc/resolv.conf, as it is now.
    explicit Resolver(Servers servers);
    ~Resolver();  // see stop()
    Resolver(const Resolver&) = delete;
    Resolver& operator=(const Resolver&) = delete;

    // Other servers from now on, for what is under way as well. What was known is forgotten if they differ:
    // there may be a reason.
    void use(Servers servers);

    NameEvidence::View look(const Question& question, const policy::IpAddress& address);

    // `done` is called on the resolver's thread when the question has been answered, or nobody has answered
    // it; look() says what came of it. False: too many questions are under way, and `done` is not called.
    using Done = std::function<void()>;
    bool ask(const Question& question, const policy::IpAddress& client, Done done);

    // What somebody else was told, by a name server that is believed: the payload of a datagram. Anything
    // else is ignored.
    void overhear(const unsigned char* payload, std::size_t bytes);

    ResolverTotals totals() const;

    // Ends the thread. No `done` is called any more.
    void stop();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace sluice::names
