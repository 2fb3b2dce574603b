// Whatever the two sides say: a command and a reply lie within what was read, are never empty, and do not
// change when more follows.
#include <cstdint>
#include <cstdlib>

#include "userspace/agent/starttls.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice;
    constexpr policy::Protocol protocols[] = {policy::Protocol::smtp, policy::Protocol::imap,
                                              policy::Protocol::pop3, policy::Protocol::postgresql};
    if (size < 3) return 0;
    const policy::Protocol protocol = protocols[data[0] % 4];
    const std::size_t asked = std::min<std::size_t>(data[1], size - 2);
    const std::span command_bytes(data + 2, asked);
    const std::span reply_bytes(data + 2 + asked, size - 2 - asked);
    const agent::Command command = agent::read_command(protocol, command_bytes);
    const bool passes =
        command.kind == agent::Command::Kind::harmless || command.kind == agent::Command::Kind::starts_tls;
    if (passes && (command.bytes == 0 || command.bytes > command_bytes.size())) std::abort();
    if (passes && agent::read_command(protocol, command_bytes.first(command.bytes)).kind != command.kind)
        std::abort();
    const agent::Reply reply = agent::read_reply(protocol, command, reply_bytes);
    if (reply.kind == agent::Reply::Kind::incomplete) return 0;
    if (reply.bytes == 0 || reply.bytes > reply_bytes.size()) std::abort();
    const agent::Reply again = agent::read_reply(protocol, command, reply_bytes.first(reply.bytes));
    if (again.kind != reply.kind || again.bytes != reply.bytes) std::abort();
    const bool may_agree = command.kind == agent::Command::Kind::starts_tls;
    if (reply.kind == agent::Reply::Kind::agrees && !may_agree) std::abort();
    return 0;
}
