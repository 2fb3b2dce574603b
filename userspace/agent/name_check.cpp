#include "userspace/agent/name_check.h"

#include <boost/asio/post.hpp>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "userspace/agent/worker.h"
#include "userspace/datapath/routing.h"
#include "userspace/names/resolver.h"

namespace sluice::agent {
namespace {

// For all questions of a flow together. A client waits so long for nothing when no name server is there.
constexpr std::chrono::seconds lookup_max{5};
// What only goes into the log delays nobody for long.
constexpr std::chrono::milliseconds lookup_for_log_max{250};

// A coroutine that waits for an answer, as the resolver's thread knows it. It may be gone by then.
struct Waiting {
    Patience* patience;
    bool told = false;
};

names::Question question_of(const Flow& flow) {
    return {.name = std::string(flow.server_name()), .family = names::family_of(flow.dialled.address)};
}

// An answer, or the failure to get one. False: no time is left, or too much is asked for already.
asio::awaitable<bool> ask(Worker& worker, const Flow& flow, const names::Question& question,
                          Socket& downstream, Patience& patience) {
    auto waiting = std::make_shared<Waiting>(&patience);
    const auto done = [&io = worker.io(), waiting] {
        asio::post(io, [waiting] {
            waiting->told = true;
            if (waiting->patience) waiting->patience->wake();
        });
    };
    if (!worker.resolver().ask(question, flow.source.address, done)) co_return false;
    const bool told = co_await patience.told(waiting->told, downstream);
    waiting->patience = nullptr;
    co_return told;
}

bool is_enough(policy::Verify verify, const names::NameEvidence::View& known) {
    if (known.is_address || !known.may_ask) return true;
    // Any address of the name will do.
    return verify == policy::Verify::pin && known.is_current && !known.addresses.empty();
}

asio::awaitable<names::NameEvidence::View> learn(Worker& worker, const Flow& flow, Socket& downstream,
                                                 Patience& patience) {
    const policy::IpAddress address = flow.dialled.address;
    const names::Question question = question_of(flow);
    auto known = worker.resolver().look(question, address);
    while (!is_enough(flow.outcome.verify, known)) {
        const bool has_answer = co_await ask(worker, flow, question, downstream, patience);
        known = worker.resolver().look(question, address);
        if (!has_answer) known.is_answered = false;
        if (!has_answer) break;
    }
    co_return known;
}

flow_end refuse_name(Flow& flow, flow_end why) {
    flow.outcome.action = policy::Action::deny;
    return why;
}

// Dials an address of the name. It must be one that the policy lets the flow go to, as if the client had
// dialled it: whoever owns the name chooses the address.
flow_end pin(Worker& worker, Flow& flow, const std::vector<policy::IpAddress>& addresses) {
    const auto policy = worker.policy();
    std::optional<policy::Verdict> denial;
    for (const policy::IpAddress& address : addresses) {
        if (datapath::is_routed_here(address)) continue;
        policy::Facts facts = flow.facts();
        facts.destination.address = address;
        const policy::Verdict there = policy->judge(facts);
        if (there.allowed()) {
            flow.dialled.address = address;
            return FLOW_END_live;
        }
        if (!denial) denial = there;
    }
    if (!denial) return refuse_name(flow, FLOW_END_name_unresolved);
    flow.take(*denial);
    return FLOW_END_denied;
}

// Of a flow that goes where it goes.
flow_end hold_to(Flow& flow, const names::NameEvidence::View& known) {
    if (known.is_address || flow.outcome.verify == policy::Verify::log) return FLOW_END_live;
    return refuse_name(flow, known.addresses.empty() ? FLOW_END_name_unresolved : FLOW_END_name_mismatch);
}

Verified word_for(const names::NameEvidence::View& known) {
    if (known.is_address) return Verified::yes;
    return known.is_answered ? Verified::no : Verified::unknown;
}

flow_end decide(Worker& worker, Flow& flow, const names::NameEvidence::View& known) {
    flow.verified = word_for(known);
    const bool is_connected = flow.times.connected != Clock::time_point();
    const bool can_be_led = flow.outcome.verify == policy::Verify::pin && !is_connected;
    if (known.is_address || !can_be_led) return hold_to(flow, known);
    return pin(worker, flow, known.addresses);
}

}  // namespace

asio::awaitable<flow_end> check_name(Worker& worker, Flow& flow, Socket& downstream, Patience& patience) {
    const flow_state state = std::exchange(flow.state, FLOW_STATE_resolving);
    const bool only_log = flow.outcome.verify == policy::Verify::log;
    patience.last_until(Clock::now() + (only_log ? lookup_for_log_max : lookup_max));
    const auto known = co_await learn(worker, flow, downstream, patience);
    flow.state = state;
    patience.last_until(Clock::time_point::max());  // what comes next has a time of its own
    // By a kill, or by another policy, whose verdict the flow then has.
    if (patience.ended()) co_return patience.ended_by();
    if (downstream.failed) co_return FLOW_END_client_gone;
    // Another policy may want no evidence any more.
    const flow_end end = flow.needs_evidence() ? decide(worker, flow, known) : FLOW_END_live;
    // What lets a flow go on before all is known is no verdict yet.
    if (flow.to_come == policy::ToCome::nothing || end != FLOW_END_live) worker.log_verdict(flow, end);
    co_return end;
}

flow_end check_name_by_what_is_known(names::Resolver& resolver, Flow& flow) {
    const auto known = resolver.look(question_of(flow), flow.dialled.address);
    flow.verified = word_for(known);
    return hold_to(flow, known);
}

}  // namespace sluice::agent
