#include "userspace/agent/starttls.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

namespace sluice::agent {
namespace {

using policy::Protocol;

std::string_view text_of(std::span<const std::uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The line that `text` begins with, and its end; nothing when that has not come.
std::optional<std::string_view> first_line(std::string_view text) {
    const std::size_t end = text.find('\n');
    if (end == text.npos) return std::nullopt;
    return text.substr(0, end + 1);
}

// Up to the next space, CR or LF, which go with it.
std::string_view take_word(std::string_view& line) {
    const std::size_t end = std::min(line.find_first_of(" \r\n"), line.size());
    const std::string_view word = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
    return word;
}

bool is_word(std::string_view word, std::string_view upper) {
    return std::ranges::equal(word, upper,
                              [](char a, char b) { return (a >= 'a' && a <= 'z' ? a - 'a' + 'A' : a) == b; });
}

bool is_any(std::string_view word, std::initializer_list<std::string_view> uppers) {
    return std::ranges::any_of(uppers, [&](std::string_view upper) { return is_word(word, upper); });
}

bool is_empty(std::string_view rest) {
    return rest.find_first_not_of("\r\n") == rest.npos;
}

// PostgreSQL's protocol, "SSLRequest" and "GSSENCRequest": a length of 8, and a number.
constexpr std::size_t request_bytes = 8;
constexpr std::string_view ssl_request("\0\0\0\x08\x04\xd2\x16\x2f", request_bytes);
constexpr std::string_view gss_request("\0\0\0\x08\x04\xd2\x16\x30", request_bytes);

Command read_request(std::string_view text) {
    const std::string_view head = text.substr(0, request_bytes);
    if (head == ssl_request) return {Command::Kind::starts_tls, request_bytes, {}};
    if (head == gss_request) return {Command::Kind::harmless, request_bytes, {}};
    const bool may_become_one = ssl_request.starts_with(head) || gss_request.starts_with(head);
    return {may_become_one ? Command::Kind::incomplete : Command::Kind::other, 0, {}};
}

Command read_line(Protocol protocol, std::string_view line) {
    using Kind = Command::Kind;
    Command command{.kind = Kind::other, .bytes = line.size(), .tag = {}};
    // Within a line it ends one to some servers, and another command follows.
    const std::size_t carriage_return = line.find('\r');
    if (carriage_return != line.npos && carriage_return + 2 != line.size()) return command;
    std::string_view rest = line;
    if (protocol == Protocol::imap) command.tag = take_word(rest);
    const std::string_view word = take_word(rest);
    switch (protocol) {
        case Protocol::smtp:
            if (is_any(word, {"EHLO", "HELO", "LHLO", "NOOP", "RSET", "HELP", "QUIT"}))
                command.kind = Kind::harmless;
            if (is_word(word, "STARTTLS") && is_empty(rest)) command.kind = Kind::starts_tls;
            break;
        case Protocol::imap:  // a literal, {5}, would go on in the next line
            if (command.tag.empty() || line.contains('{')) break;
            if (is_any(word, {"CAPABILITY", "NOOP", "ID", "LOGOUT"})) command.kind = Kind::harmless;
            if (is_word(word, "STARTTLS") && is_empty(rest)) command.kind = Kind::starts_tls;
            break;
        case Protocol::pop3:
            command.has_list = is_word(word, "CAPA");
            if (is_any(word, {"CAPA", "NOOP", "QUIT"})) command.kind = Kind::harmless;
            if (is_word(word, "STLS") && is_empty(rest)) command.kind = Kind::starts_tls;
            break;
        default:
            break;
    }
    return command;
}

Reply reply(bool is_good, const Command& command, std::size_t bytes) {
    const bool agrees = is_good && command.kind == Command::Kind::starts_tls;
    return {agrees ? Reply::Kind::agrees : Reply::Kind::complete, bytes};
}

// Whether this line is the last of a reply; then `is_good` says what kind.
bool ends_reply(Protocol protocol, const Command& command, std::string_view line, bool& is_good) {
    switch (protocol) {
        case Protocol::smtp:  // RFC 5321 4.2: "250-..." goes on
            is_good = line.starts_with("220");
            return line.size() < 4 || line[3] != '-';
        case Protocol::imap: {  // RFC 3501 7: "* ..." goes on; only the command's own tag ends it
            const std::string_view tag = take_word(line);
            is_good = is_word(take_word(line), "OK");
            return tag == command.tag;
        }
        default:  // RFC 1939 3
            is_good = line.starts_with("+OK");
            return true;
    }
}

// RFC 2449 5: lines up to one with a dot alone.
Reply read_list(std::string_view text, std::size_t bytes) {
    while (const auto line = first_line(text.substr(bytes))) {
        bytes += line->size();
        if (*line == ".\r\n" || *line == ".\n") return {Reply::Kind::complete, bytes};
    }
    return {};
}

}  // namespace

Command read_command(Protocol protocol, std::span<const std::uint8_t> bytes) {
    const std::string_view text = text_of(bytes);
    if (protocol == Protocol::postgresql) return read_request(text);
    const auto line = first_line(text.substr(0, command_bytes_max));
    if (line) return read_line(protocol, *line);
    return {text.size() >= command_bytes_max ? Command::Kind::other : Command::Kind::incomplete, 0, {}};
}

Reply read_reply(Protocol protocol, const Command& command, std::span<const std::uint8_t> bytes) {
    const std::string_view text = text_of(bytes);
    if (protocol == Protocol::postgresql) {
        if (text.empty()) return {};
        return reply(text.front() == 'S', command, 1);
    }
    std::size_t length = 0;
    while (const auto line = first_line(text.substr(length))) {
        length += line->size();
        bool is_good = false;
        if (!ends_reply(protocol, command, *line, is_good)) continue;
        if (command.has_list && is_good) return read_list(text, length);
        return reply(is_good, command, length);
    }
    return {};
}

Reply read_greeting(Protocol protocol, std::span<const std::uint8_t> bytes) {
    if (protocol == Protocol::postgresql) return {Reply::Kind::complete, 0};
    const Command none{.kind = Command::Kind::other, .bytes = 0, .tag = "*"};  // of IMAP's greeting
    return read_reply(protocol, none, bytes);
}

}  // namespace sluice::agent
