#pragma once
// What a flow speaks: the one list that is enum, policy word, log word and column.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::policy {

// Told by the client's first bytes, or, when it stayed silent, by the server's greeting. `server_first`: the
// client stayed silent, and the greeting is none of the rest, or has not come. `other`: the client said
// something that is none of the rest. `malformed`: it began a TLS handshake, an HTTP request or an SSH
// version that cannot be understood; not a rule's condition, and neither is `unknown`: nothing has been seen
// yet. The numbers are those of flow_record.protocol, in pinned maps: new ones go to the end.
enum class Protocol : std::uint8_t {
    tls,
    http,
    ssh,
    server_first,
    other,
    malformed,
    unknown,
    smtp,
    ftp,
    mysql,
    imap,
    pop3,
    rfb,
    telnet,
    postgresql,
};
inline constexpr std::array<std::string_view, 15> protocol_words{
    "tls", "http",  "ssh",  "server-first", "other", "malformed", "unknown",   "smtp",
    "ftp", "mysql", "imap", "pop3",         "rfb",   "telnet",    "postgresql"};
static_assert(protocol_words.size() == static_cast<std::size_t>(Protocol::postgresql) + 1);
constexpr std::string_view to_string(Protocol protocol) {
    return protocol_words[static_cast<std::size_t>(protocol)];
}

// What a rule may ask for, in the order in which errors name it.
inline constexpr std::array rule_protocols{
    Protocol::tls,        Protocol::http,         Protocol::ssh,  Protocol::smtp, Protocol::ftp,
    Protocol::mysql,      Protocol::imap,         Protocol::pop3, Protocol::rfb,  Protocol::telnet,
    Protocol::postgresql, Protocol::server_first, Protocol::other};
static_assert(rule_protocols.size() == protocol_words.size() - 2);

// That a server's greeting can tell.
inline constexpr std::array greeting_protocols{Protocol::ssh,   Protocol::smtp,  Protocol::ftp,
                                               Protocol::mysql, Protocol::imap,  Protocol::pop3,
                                               Protocol::rfb,   Protocol::telnet};
constexpr bool is_told_by_greeting(Protocol protocol) {
    return std::ranges::find(greeting_protocols, protocol) != greeting_protocols.end();
}

// That begin in the clear and may turn to TLS, with a server name, when both sides agree: RFC 3207, RFC 3501
// 6.2.1, RFC 2595 4, and PostgreSQL's SSLRequest.
constexpr bool may_start_tls(Protocol protocol) {
    return protocol == Protocol::smtp || protocol == Protocol::imap || protocol == Protocol::pop3 ||
           protocol == Protocol::postgresql;
}

}  // namespace sluice::policy
