#include "userspace/agent/first_bytes.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace sluice::agent {
namespace {

struct Signature {
    std::string_view prefix;
    policy::Protocol protocol;
};

// RFC 8446 5.1: a handshake record; any other record does not belong there, but some servers skip it and take
// the ClientHello behind. RFC 4253 4.2; methods of RFC 9110 9.1, RFC 5789 and RFC 4918, then the preface of
// RFC 9113 3.4; RFC 5321 4.1.1.1 and RFC 2033 4.1, of clients that do not wait for the greeting. A method and
// a command count with the space that must follow them. PostgreSQL's SSLRequest and GSSENCRequest.
constexpr std::array signatures = {
    Signature{"\x16", policy::Protocol::tls},
    Signature{"\x14\x03", policy::Protocol::malformed},
    Signature{"\x15\x03", policy::Protocol::malformed},
    Signature{"\x17\x03", policy::Protocol::malformed},

    Signature{"SSH-", policy::Protocol::ssh},
    Signature{"GET ", policy::Protocol::http},
    Signature{"POST ", policy::Protocol::http},
    Signature{"HEAD ", policy::Protocol::http},
    Signature{"PUT ", policy::Protocol::http},
    Signature{"DELETE ", policy::Protocol::http},
    Signature{"OPTIONS ", policy::Protocol::http},
    Signature{"CONNECT ", policy::Protocol::http},
    Signature{"TRACE ", policy::Protocol::http},
    Signature{"PATCH ", policy::Protocol::http},
    Signature{"PROPFIND ", policy::Protocol::http},
    Signature{"PRI * HTTP/2.0", policy::Protocol::http},

    Signature{"EHLO ", policy::Protocol::smtp},
    Signature{"HELO ", policy::Protocol::smtp},
    Signature{"LHLO ", policy::Protocol::smtp},
    Signature{"ehlo ", policy::Protocol::smtp},
    Signature{"helo ", policy::Protocol::smtp},
    Signature{"lhlo ", policy::Protocol::smtp},

    Signature{std::string_view("\0\0\0\x08\x04\xd2\x16\x2f", 8), policy::Protocol::postgresql},
    Signature{std::string_view("\0\0\0\x08\x04\xd2\x16\x30", 8), policy::Protocol::postgresql},
};

// PostgreSQL's StartupMessage: a length, and version 3.0. It comes as one: less than that is something else.
bool is_postgresql_startup(std::string_view seen) {
    constexpr std::string_view version("\0\3\0\0", 4);
    return seen.size() > 8 && seen.starts_with(std::string_view("\0\0", 2)) && seen.substr(4, 4) == version;
}

}  // namespace

std::optional<policy::Protocol> classify_first_bytes(std::span<const std::uint8_t> bytes) {
    const std::string_view seen(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    for (const auto& [prefix, protocol] : signatures) {
        if (seen.starts_with(prefix)) return protocol;
    }
    if (is_postgresql_startup(seen)) return policy::Protocol::postgresql;
    const bool undecided = std::ranges::any_of(
        signatures, [&](const Signature& signature) { return signature.prefix.starts_with(seen); });
    if (undecided) return std::nullopt;
    return policy::Protocol::other;
}

std::optional<std::string> read_ssh_version(std::span<const std::uint8_t> bytes) {
    constexpr std::string_view prefix = "SSH-";
    std::string_view line(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const bool complete = line.size() >= ssh_version_bytes_max;
    line = line.substr(0, ssh_version_bytes_max);
    const std::size_t end = line.find('\n');
    if (end == line.npos && !complete) return std::nullopt;
    line = line.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return std::string(line.substr(std::min(prefix.size(), line.size())));
}

}  // namespace sluice::agent
