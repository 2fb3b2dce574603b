#include "policy/server_name.h"

#include "policy/quote.h"

namespace sluice::policy {
namespace {

bool is_name_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

std::string lower_case(std::string_view text) {
    std::string lower(text);
    for (char& c : lower) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return lower;
}

}  // namespace

std::expected<std::string, std::string> canonical_server_name(std::string_view text, std::string_view extra) {
    std::string name = lower_case(text);
    if (name.ends_with('.')) name.pop_back();
    if (name.empty()) return std::unexpected("expected a server name, found " + quote(text));
    for (char c : name) {
        if (is_name_byte(c) || extra.find(c) != extra.npos) continue;
        if (static_cast<unsigned char>(c) >= 0x80) {
            return std::unexpected("expected an internationalised name in punycode (xn--...), found " +
                                   quote(text));
        }
        return std::unexpected(
            "expected only letters, digits, hyphens, underscores and dots in a server name, "
            "found " +
            quote({&c, 1}) + " in " + quote(text));
    }
    if (name.size() > server_name_bytes_max) {
        return std::unexpected("expected a server name of at most 253 bytes, found " +
                               std::to_string(name.size()));
    }
    for (std::size_t start = 0; start <= name.size();) {
        std::size_t length = std::min(name.find('.', start), name.size()) - start;
        if (length == 0) return std::unexpected("expected no empty label, found one in " + quote(text));
        if (length > label_bytes_max) {
            return std::unexpected("expected labels of at most 63 bytes, found one of " +
                                   std::to_string(length) + " in " + quote(text));
        }
        start += length + 1;
    }
    return name;
}

}  // namespace sluice::policy
