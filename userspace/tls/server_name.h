#pragma once
// The rules for a server name that a client claims: what it may consist of, and the one form in which it is
// compared.
#include <string>
#include <string_view>

namespace sluice::tls {

inline constexpr std::size_t server_name_bytes_max =
    253;                                            // RFC 1035 3.1: 255 on the wire, as text without its dot
inline constexpr std::size_t label_bytes_max = 63;  // RFC 1035 3.1

// Writes the name as it is compared to `out`: lower case, one trailing dot removed. Returns what is wrong
// with it, a static text, empty when nothing is. Letters, digits, hyphen, underscore and dot only
// (underscores occur in practice, RFC 6066 3 asks for A-labels); no empty label; the lengths above.
std::string_view normalize_server_name(std::string_view sent, std::string& out);

// An IP literal: a dotted quad, or IPv6 text, in brackets or not. RFC 6066 3 forbids both; real clients send
// them. Also with one trailing dot, which some resolvers ignore.
bool is_address(std::string_view sent);

}  // namespace sluice::tls
