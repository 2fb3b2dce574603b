#include "userspace/agent/beginning.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <expected>

#include "userspace/agent/name_check.h"
#include "userspace/agent/pass_on.h"
#include "userspace/agent/peek_until.h"
#include "userspace/agent/starttls.h"
#include "userspace/agent/worker.h"

namespace sluice::agent {
namespace {

// Who has not asked for TLS by then goes on in the clear, if that is allowed.
constexpr std::chrono::seconds beginning_time{30};
constexpr std::uint64_t commands_bytes_max = 8 * 1024;

enum class Turn : std::uint8_t {
    to_tls,       // the server agreed, and the client has heard it
    stays_clear,  // what comes next in either socket is of the protocol itself
    too_early,    // bytes of the client's that came before the server's word: for whom are they?
};
using Outcome = std::expected<Turn, flow_end>;

std::size_t unread(const Socket& socket) {
    int bytes = 0;
    return ::ioctl(socket.native(), SIOCINQ, &bytes) == 0 && bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
}

// Why the flow ends here, if it does.
flow_end why_over(const Socket& downstream, const Socket& upstream, const Patience& patience) {
    if (patience.ended()) return patience.ended_by();
    if (downstream.failed) return FLOW_END_client_reset;
    if (upstream.failed) return FLOW_END_server_reset;
    return FLOW_END_live;
}

// `command`: null for the greeting.
asio::awaitable<Reply> peek_reply(Flow& flow, const Command* command, Socket& downstream, Socket& upstream,
                                  Patience& patience) {
    Reply reply = command ? Reply{} : read_greeting(flow.protocol, {});
    if (reply.kind != Reply::Kind::incomplete) co_return reply;
    co_await peek_until(upstream, downstream, patience, reply_bytes_max, [&](auto bytes) {
        reply = command ? read_reply(flow.protocol, *command, bytes) : read_greeting(flow.protocol, bytes);
        return reply.kind == Reply::Kind::incomplete ? bytes.size() + 1 : 0;
    });
    co_return reply;
}

asio::awaitable<Outcome> pass_reply(Flow& flow, const Command* command, Socket& downstream, Socket& upstream,
                                    Patience& patience) {
    const Reply reply = co_await peek_reply(flow, command, downstream, upstream, patience);
    const flow_end over = why_over(downstream, upstream, patience);
    if (over != FLOW_END_live) co_return std::unexpected(over);
    const bool agrees = reply.kind == Reply::Kind::agrees;
    if (reply.kind == Reply::Kind::incomplete) co_return Turn::stays_clear;
    if (agrees && unread(downstream) > 0) co_return Turn::too_early;
    const Passed passed = co_await pass_on(reply.bytes, upstream, downstream, patience);
    if (passed == Passed::to_failed) co_return std::unexpected(FLOW_END_client_reset);
    if (passed != Passed::all) co_return std::unexpected(FLOW_END_server_reset);
    flow.down.bytes += reply.bytes;
    co_return agrees ? Turn::to_tls : Turn::stays_clear;
}

asio::awaitable<Command> peek_command(const Flow& flow, Socket& downstream, Socket& upstream,
                                      Patience& patience) {
    Command command;
    const auto bytes_needed = [&](std::span<const std::uint8_t> bytes) {
        command = read_command(flow.protocol, bytes);
        return command.kind == Command::Kind::incomplete ? bytes.size() + 1 : 0;
    };
    // A server that speaks out of its turn says something that is not understood here.
    co_await peek_until(downstream, upstream, patience, command_bytes_max, bytes_needed,
                        OtherSocket::may_speak);
    co_return command;
}

asio::awaitable<Outcome> carry_beginning(Flow& flow, Socket& downstream, Socket& upstream,
                                         Patience& patience) {
    patience.last_until(Clock::now() + beginning_time);
    const Outcome greeted = co_await pass_reply(flow, nullptr, downstream, upstream, patience);
    if (!greeted) co_return greeted;
    while (flow.up.bytes < commands_bytes_max && !upstream.hung_up) {
        const Command command = co_await peek_command(flow, downstream, upstream, patience);
        const flow_end over = why_over(downstream, upstream, patience);
        if (over != FLOW_END_live) co_return std::unexpected(over);
        const bool asks = command.kind == Command::Kind::starts_tls;
        if (!asks && command.kind != Command::Kind::harmless) break;
        if (asks && unread(downstream) > command.bytes) co_return Turn::too_early;
        const Passed passed = co_await pass_on(command.bytes, downstream, upstream, patience);
        if (passed == Passed::from_failed) co_return std::unexpected(FLOW_END_client_reset);
        if (passed != Passed::all) co_return std::unexpected(FLOW_END_server_reset);
        flow.up.bytes += command.bytes;
        const Outcome answered = co_await pass_reply(flow, &command, downstream, upstream, patience);
        if (!answered || *answered != Turn::stays_clear || patience.over()) co_return answered;
    }
    co_return Turn::stays_clear;
}

}  // namespace

void keep_beginning(const Flow& flow, Opening& opening) {
    if (!flow.has_started_tls) return;
    opening.has_started_tls = true;
    opening.silent = flow.client_was_silent;
    if (opening.trouble == FLOW_END_live)
        opening.protocol = flow.protocol;
    else
        opening.began_as = flow.protocol;
}

asio::awaitable<flow_end> judge_beginning(Worker& worker, Flow& flow, Socket& downstream, Socket& upstream,
                                          Patience& patience) {
    worker.release(flow);  // what the agent carries is acknowledged
    flow.reason = SPLICE_REASON_starttls;
    const Outcome turn = co_await carry_beginning(flow, downstream, upstream, patience);
    if (!turn) co_return turn.error();
    auto opening = std::make_unique<Opening>();
    opening->protocol = flow.protocol;
    opening->silent = flow.client_was_silent;
    if (*turn == Turn::too_early) {
        opening->protocol = policy::Protocol::malformed;
        opening->began_as = flow.protocol;
        opening->trouble = FLOW_END_hello_malformed;
        opening->hello.why = "bytes before the server agreed to TLS";
    } else if (*turn == Turn::to_tls) {
        opening = co_await peek_hello(downstream, patience, worker.peek_limits(flow));
        flow.has_started_tls = true;
        keep_beginning(flow, *opening);
    }
    const flow_end end = worker.judge(flow, *opening, patience);
    if (end == FLOW_END_live && flow.needs_evidence())
        co_return co_await check_name(worker, flow, downstream, patience);
    co_return end;
}

}  // namespace sluice::agent
