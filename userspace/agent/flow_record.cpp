// A flow as the flow table has it.
#include <algorithm>
#include <cstring>

#include "policy/prospect.h"
#include "userspace/agent/flow.h"
#include "userspace/agent/recorded_facts.h"
#include "userspace/datapath/flow_endpoint.h"

namespace sluice::agent {
namespace {

std::uint64_t nanoseconds(Clock::time_point time) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count());
}

template <std::size_t N>
void copy_text(char (&out)[N], std::string_view text) {
    text.copy(out, N - 1);
}

}  // namespace

// Early data would come right behind a hello, and some SSH clients wait for the server's version.
bool Flow::opens_at_once() const {
    if (is_pinned() || proxied || client_was_silent) return false;
    switch (protocol) {
        case policy::Protocol::http:
        case policy::Protocol::other:
            return true;
        case policy::Protocol::tls:
            return !tls::offers_early_data(hello);
        default:
            return false;
    }
}

const policy::Endpoint& Flow::gateway_end() const {
    return proxied ? proxied->listener : destination;
}

// A name in what the client says comes before the one that it asked the proxy for.
std::string_view Flow::server_name() const {
    std::string_view name;
    if (protocol == policy::Protocol::http)
        name = host;
    else if (hello.status == tls::HelloStatus::found)
        name = hello.server_name;
    return name.empty() && proxied ? std::string_view(proxied->asked_name) : name;
}

std::string_view Flow::claimed_name() const {
    if (const std::string_view name = server_name(); !name.empty()) return name;
    return protocol == policy::Protocol::http ? host : hello.server_name;
}

policy::Facts Flow::facts() const {
    static_assert(static_cast<int>(policy::Ech::outer) == static_cast<int>(tls::Ech::outer));
    return {.source = source,
            .destination = destination,
            .protocol = protocol,
            .server_name = server_name(),
            .began_as = began_as,
            .ech = static_cast<policy::Ech>(hello.ech),
            .alpn = hello.alpn,
            .ja4 = ja4,
            .ssh_version = ssh_version,
            .ssh_server_version = ssh_server_version,
            .has_started_tls = has_started_tls,
            .client_was_silent = client_was_silent,
            .to_come = to_come,
            .via = proxied ? proxied->via : policy::Via::captured,
            .mac = mac,
            .asked_name = proxied ? std::string_view(proxied->asked_name) : std::string_view(),
            .time = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now())};
}

void Flow::find_mac(const policy::Policy& policy, datapath::Neighbours& neighbours) {
    if (!mac && policy.asks_for(policy::Condition::mac)) mac = neighbours.mac_of(source.address);
}

void Flow::judge(const policy::Policy& policy) {
    const auto [verdict, is_final] = policy::judge_so_far(policy, facts());
    take(verdict);
    verdict_is_final = is_final;
}

policy::Verdict Flow::judge_again(const policy::Policy& policy) const {
    const policy::Verdict verdict = policy.judge(facts());
    if (!verdict.allowed() || !is_pinned()) return verdict;
    policy::Facts there = facts();
    there.destination = dialled;
    const policy::Verdict denial = policy.judge(there);
    return denial.allowed() ? verdict : denial;
}

void Flow::take(const policy::Verdict& verdict) {
    outcome = verdict.outcome;
    rule = verdict.rule;
    would_deny = verdict.would_deny;
    list = verdict.list;
    category = verdict.category;
}

flow_record Flow::record() const {
    flow_record out{};
    out.id = id;
    out.accepted_ns = nanoseconds(times.accepted);
    out.active_ns = nanoseconds(times.active);
    out.source = datapath::abi_endpoint(source);
    out.destination = datapath::abi_endpoint(destination);
    out.dialled = datapath::abi_endpoint(dialled);
    out.up = up;
    out.down = down;
    out.state = static_cast<__u8>(state);
    out.protocol = static_cast<__u8>(judged ? protocol : policy::Protocol::unknown);
    out.mode = static_cast<__u8>(mode);
    out.reason = static_cast<__u8>(reason);
    copy_text(out.rule, rule);
    copy_text(out.server_name, claimed_name());
    if (judged || proxied) copy_text(out.facts, facts_text(facts()));
    return out;
}

}  // namespace sluice::agent
