#pragma once
// A server name in the one form in which names are compared: lower case, no trailing dot.
#include <expected>
#include <string>
#include <string_view>

namespace sluice::policy {

inline constexpr std::size_t server_name_bytes_max =
    253;                                            // RFC 1035 2.3.4: 255 on the wire, less length and root
inline constexpr std::size_t label_bytes_max = 63;  // RFC 1035 2.3.4

// Labels of letters, digits, hyphen and underscore, with dots between them; one trailing dot is removed. The
// error is one sentence, "expected ..., found ...". `extra` names further bytes to accept: a pattern's
// wildcards.
std::expected<std::string, std::string> canonical_server_name(std::string_view text,
                                                              std::string_view extra = {});

}  // namespace sluice::policy
