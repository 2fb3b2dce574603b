#include "userspace/agent/second_hello.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "userspace/agent/flow.h"
#include "userspace/datapath/flow_endpoint.h"

namespace sluice::agent {
namespace {

// At once; each has room for the longest hello.
constexpr std::size_t waiting_max = 1024;

// Ends that are not read: the ring buffer was full.
constexpr std::size_t refused_max = 1 << 16;

// As far as it is known of a flow that no agent has.
Flow flow_of(const flow_record& record, Opening opening) {
    Flow flow;
    flow.id = record.id;
    flow.source = datapath::endpoint(record.source);
    flow.destination = datapath::endpoint(record.destination);
    flow.dialled = datapath::endpoint(record.dialled);
    flow.times.accepted = Clock::time_point(std::chrono::nanoseconds(record.accepted_ns));
    flow.times.judged = Clock::now();
    flow.judged = true;
    flow.reason = static_cast<splice_reason>(record.reason);
    flow.protocol = opening.protocol;
    flow.began_as = opening.began_as;
    flow.hello = std::move(opening.hello);
    if (flow.protocol == policy::Protocol::tls) flow.ja4 = tls::ja4(flow.hello);
    return flow;
}

Opening incomplete() {
    Opening opening;
    opening.protocol = policy::Protocol::malformed;
    opening.trouble = FLOW_END_hello_incomplete;
    return opening;
}

}  // namespace

SecondHellos::SecondHellos(PacketMode& packet, PeekLimits limits, Judge judge)
    : packet_(packet), limits_(std::move(limits)), judge_(std::move(judge)) {}

SecondHellos::Waiting* SecondHellos::find(const packet_hello_head& head) {
    const auto known = waiting_.find(head.flow);
    if (known != waiting_.end()) return &known->second;
    if (waiting_.size() >= waiting_max) return nullptr;
    const auto waits = packet_.table().waiting(head.slot, head.flow);
    if (!waits) return nullptr;
    return &waiting_
                .emplace(head.flow, Waiting{.flow = waits->flow,
                                            .last = head,
                                            .seq = waits->seq,
                                            .until = Clock::now() + limits_.hello_deadline,
                                            .bytes = {}})
                .first->second;
}

// What came before is skipped, and what overtook something comes again. Nothing: it is not whole yet.
std::optional<Opening> SecondHellos::add(Waiting& waiting, const packet_hello_piece& piece) const {
    auto& bytes = waiting.bytes;
    const auto known = static_cast<std::int32_t>(waiting.seq + bytes.size() - piece.head.seq);
    if (known < 0 || static_cast<std::uint32_t>(known) >= piece.head.bytes) return std::nullopt;
    const auto fresh = std::span(reinterpret_cast<const char*>(piece.data), piece.head.bytes)
                           .subspan(static_cast<std::uint32_t>(known));
    const std::size_t room =
        limits_.hello_bytes_max - std::min<std::size_t>(bytes.size(), limits_.hello_bytes_max);
    bytes.insert(bytes.end(), fresh.begin(),
                 fresh.begin() + static_cast<std::ptrdiff_t>(std::min(fresh.size(), room)));
    return read_second_hello(std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()),
                             limits_);
}

void SecondHellos::take(const packet_hello_piece& piece) {
    Waiting* const waiting = find(piece.head);
    if (waiting == nullptr) return;
    waiting->last = piece.head;
    bool is_done = false;
    if (waiting->allowed) {
        is_done = pass(*waiting);
    } else if (auto opening = add(*waiting, piece)) {
        is_done = judge(*waiting, std::move(*opening), true);
    }
    if (is_done) waiting_.erase(piece.head.flow);
}

bool SecondHellos::judge(Waiting& waiting, Opening opening, bool is_whole) {
    const flow_end trouble = opening.trouble;
    Flow flow = flow_of(waiting.flow, std::move(opening));
    flow_end end = judge_(flow, trouble);
    if (end == FLOW_END_live && is_whole) {
        waiting.allowed = std::move(flow);
        return pass(waiting);
    }
    if (end == FLOW_END_live) end = trouble;  // half a hello, which the policy lets pass: half is no hello
    if (packet_.refuse(flow, waiting.last.slot) && refused_.size() < refused_max) refused_[flow.id] = end;
    return true;
}

bool SecondHellos::pass(const Waiting& waiting) {
    return packet_.pass(*waiting.allowed, waiting.last, waiting.seq, waiting.bytes) ||
           !packet_.table().waiting(waiting.last.slot, waiting.last.flow);
}

void SecondHellos::look_after() {
    const auto now = Clock::now();
    for (auto at = waiting_.begin(); at != waiting_.end();) {
        Waiting& waiting = at->second;
        const bool is_late = waiting.until <= now;
        const bool is_done = waiting.allowed ? pass(waiting) : is_late && judge(waiting, incomplete(), false);
        at = is_done ? waiting_.erase(at) : std::next(at);
    }
}

flow_end SecondHellos::why_ended(std::uint64_t flow_id, flow_end end) {
    waiting_.erase(flow_id);
    const auto refused = refused_.extract(flow_id);
    return refused && end == FLOW_END_killed ? refused.mapped() : end;
}

}  // namespace sluice::agent
