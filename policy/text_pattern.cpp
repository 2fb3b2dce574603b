#include "policy/text_pattern.h"

#include <algorithm>

#include "policy/quote.h"

namespace sluice::policy {
namespace {

constexpr std::size_t pattern_bytes_max = 255;  // the longest text: an SSH version (RFC 4253 4.2)

}  // namespace

std::expected<TextPattern, std::string> TextPattern::parse(std::string_view text) {
    bool printable = std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; });
    if (text.empty() || text.size() > pattern_bytes_max || !printable) {
        return std::unexpected("expected 1 to 255 characters of printable ASCII, found " + quote(text));
    }
    return TextPattern(std::string(text));
}

// The last `*` seen is the only one that ever needs to take more.
bool TextPattern::matches(std::string_view text) const {
    if (text.empty()) return false;
    std::size_t p = 0;
    std::size_t t = 0;
    std::size_t star = text_.npos;
    std::size_t taken = 0;
    while (t < text.size()) {
        if (p < text_.size() && text_[p] == '*') {
            star = p++;
            taken = t;
        } else if (p < text_.size() && text_[p] == text[t]) {
            ++p;
            ++t;
        } else if (star != text_.npos) {
            p = star + 1;
            t = ++taken;
        } else {
            return false;
        }
    }
    return text_.find_first_not_of('*', p) == text_.npos;
}

}  // namespace sluice::policy
