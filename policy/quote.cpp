#include "policy/quote.h"

namespace sluice::policy {
namespace {

constexpr std::size_t quoted_bytes_max = 60;  // enough to recognise a mistake by; an error stays one line

}  // namespace

std::string quote(std::string_view text) {
    constexpr char digits[] = "0123456789abcdef";
    std::string out = "\"";
    for (char c : text.substr(0, quoted_bytes_max)) {
        if (c >= 0x20 && c < 0x7f) {
            out += c;
        } else {
            auto byte = static_cast<unsigned char>(c);
            out += "\\x";
            out += digits[byte >> 4];
            out += digits[byte & 15];
        }
    }
    return out + (text.size() > quoted_bytes_max ? "...\"" : "\"");
}

}  // namespace sluice::policy
