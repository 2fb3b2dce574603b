// The first line is a pattern, the rest a name; both are arbitrary. A glob's matcher is compared with RE2's.
#include <re2/re2.h>

#include <cstdint>
#include <cstdlib>

#include "policy/name_pattern.h"
#include "policy/server_name.h"

namespace {

// What a glob means, in the slow and obvious way. `pattern` is canonical.
std::string regex_of_glob(std::string_view pattern) {
    std::string regex;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        if (pattern.substr(i, 2) == "**") {
            regex += "[^.]+(\\.[^.]+)*";
            ++i;
        } else if (pattern[i] == '*') {
            regex += "[^.]+";
        } else {
            regex += RE2::QuoteMeta(re2::StringPiece(&pattern[i], 1));
        }
    }
    return regex;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice::policy;
    std::string_view input(reinterpret_cast<const char*>(data), size);
    std::size_t newline = std::min(input.find('\n'), input.size());
    auto pattern = NamePattern::parse(input.substr(0, newline));
    if (!pattern) return 0;
    std::string_view raw = input.substr(std::min(newline + 1, input.size()));
    pattern->matches(raw);
    auto name = canonical_server_name(raw);
    if (!name) return 0;
    bool matches = pattern->matches(*name);
    std::string canonical = pattern->canonical();
    if (canonical.starts_with("glob:")) {
        RE2 slow(regex_of_glob(std::string_view(canonical).substr(5)), RE2::Latin1);
        if (slow.ok() && matches != RE2::FullMatch(*name, slow)) std::abort();
    }
    return 0;
}
