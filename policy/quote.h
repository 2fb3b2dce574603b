#pragma once
#include <string>
#include <string_view>

namespace sluice::policy {

// `text` in double quotes, on one line and safe for a terminal: bytes outside printable ASCII as \xNN, long
// text cut.
std::string quote(std::string_view text);

}  // namespace sluice::policy
