#pragma once
// A name pattern as other filters write it, a Perl-compatible regular expression, brought into this file
// format's notation, with what is doubtful about it.
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::policy {

struct PcreReading {
    std::string pattern;                // exact:, suffix:, glob: or re:
    std::vector<std::string> warnings;  // one sentence each
};

// `anywhere`: an expression without ^ and $ is found anywhere in a name, as PCRE does by itself; else it must
// match the whole name, and the warnings say so. The error is one sentence: RE2, which needs no more time
// than the name is long, has no look-around, back references and the like.
std::expected<PcreReading, std::string> read_pcre(std::string_view text, bool anywhere);

}  // namespace sluice::policy
