#pragma once
// One connection through the gateway: what is known of it (Flow), and its life up to the splice (run_flow).
#include <array>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "bpf/flow_abi.h"
#include "policy/facts.h"
#include "policy/outcome.h"
#include "policy/policy.h"
#include "userspace/agent/patience.h"
#include "userspace/agent/proxied.h"
#include "userspace/agent/socket.h"
#include "userspace/datapath/neighbours.h"
#include "userspace/tls/client_hello.h"

namespace sluice::agent {

class Worker;

// Whether the client has dialled an address of the name that it says. `unasked`: nobody wanted to know.
enum class Verified : std::uint8_t { unasked, yes, no, unknown };
inline constexpr std::array<std::string_view, 4> verified_words{"unasked", "yes", "no", "unknown"};
constexpr std::string_view to_string(Verified verified) {
    return verified_words[static_cast<std::size_t>(verified)];
}

// Written by the coroutine of run_flow, then by the splice that took the flow; never by both at once.
struct FlowTimes {
    Clock::time_point accepted;
    Clock::time_point judged;     // for the first time
    Clock::time_point connected;  // upstream
    Clock::time_point spliced;
    Clock::time_point active;  // last byte either way
};

class Flow {
  public:
    std::uint64_t id = 0;
    policy::Endpoint source;
    policy::Endpoint destination;           // the original one; of a proxied flow, what its request leads to
    policy::Endpoint dialled;               // by the gateway: the same, unless the flow is pinned to another
    policy::Endpoint upstream_source;       // of the upstream connection, as its socket has it
    std::optional<policy::MacAddress> mac;  // of the client, if the policy asks and the kernel knows it
    policy::Protocol protocol = policy::Protocol::other;
    std::unique_ptr<Proxied> proxied;  // null: captured
    bool is_local = false;             // its client is a program on the gateway itself
    bool judged = false;
    bool delivered = false;  // the server has all that was judged, or has spoken before the client
    policy::Protocol began_as = policy::Protocol::tls;  // of malformed ones
    tls::ClientHello hello;                             // of TLS flows, as far as it was understood
    std::string host;                                   // of HTTP flows: the name in the request
    std::string ssh_version;                            // of SSH flows whose client spoke first
    std::string ssh_server_version;                     // of SSH flows whose server did
    bool has_started_tls = false;    // after a beginning in the clear, which the agent has carried
    bool client_was_silent = false;  // until the server spoke, or until now
    policy::ToCome to_come = policy::ToCome::nothing;
    std::string ja4;  // of TLS flows
    policy::Outcome outcome;
    Verified verified = Verified::unasked;
    bool verdict_is_final = false;  // whatever is to come
    std::string rule;  // a copy, as are the next three: the policy may be replaced while the flow lives
    std::string list;  // by which the rule matched; empty: by none
    std::string category;
    std::string would_deny;  // a row that is not enforced
    flow_state state = FLOW_STATE_peeking;
    splice_mode mode = SPLICE_MODE_none;
    splice_reason reason = SPLICE_REASON_undecided;
    flow_direction up{};
    flow_direction down{};
    FlowTimes times;
    bool listed = false;            // in the flow table
    std::uint64_t descriptors = 0;  // counted against the process's limit

    // If the policy asks for it, and it is not known.
    void find_mac(const policy::Policy& policy, datapath::Neighbours& neighbours);
    void judge(const policy::Policy& policy);   // by what is known; takes the verdict
    void take(const policy::Verdict& verdict);  // all of it
    // By where it goes, too, if it is pinned.
    policy::Verdict judge_again(const policy::Policy& policy) const;
    // Of its own, or after a beginning in the clear; understood.
    bool has_hello() const { return facts().has_hello(); }
    bool allowed() const { return outcome.action == policy::Action::allow; }
    // It may go on only when more is known of its server name (name_check.h).
    bool needs_evidence() const {
        return outcome.verify != policy::Verify::off && allowed() && !server_name().empty();
    }
    // Its client says nothing behind its first bytes before its server has answered, who is the one that it
    // has dialled.
    bool opens_at_once() const;
    bool is_pinned() const { return dialled != destination; }
    const policy::Endpoint& gateway_end() const;  // of the client's leg: where its packets go
    std::string_view server_name() const;         // for the policy: empty when there is none
    std::string_view claimed_name() const;        // for people: an IP literal too
    policy::Facts facts() const;                  // points into the flow
    flow_record record() const;                   // as the flow table has it
};

// The life of one connection, from accept to splice, as a coroutine that owns the client's socket.
asio::awaitable<void> run_flow(Worker& worker, std::unique_ptr<Flow> flow, SocketPtr downstream);

}  // namespace sluice::agent
