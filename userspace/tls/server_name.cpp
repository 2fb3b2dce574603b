#include "userspace/tls/server_name.h"

#include <arpa/inet.h>

#include <algorithm>

namespace sluice::tls {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool may_occur(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '-' || c == '_' ||
           c == '.';
}

std::string_view without_trailing_dot(std::string_view name) {
    if (name.ends_with('.')) name.remove_suffix(1);
    return name;
}

// Four decimal numbers up to 255. Leading zeros count: whether 010 is eight or ten, it is no name.
bool is_dotted_quad(std::string_view text) {
    int numbers = 0;
    while (true) {
        std::size_t dot = std::min(text.find('.'), text.size());
        std::string_view number = text.substr(0, dot);
        if (number.empty() || number.size() > 3 || !std::ranges::all_of(number, is_digit)) return false;
        int value = 0;
        for (char digit : number)
            value = value * 10 + (digit - '0');
        if (value > 255) return false;
        ++numbers;
        if (dot == text.size()) return numbers == 4;
        text.remove_prefix(dot + 1);
    }
}

bool is_ipv6(std::string_view text) {
    if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
    if (text.find('\0') != std::string_view::npos) return false;  // inet_pton would stop reading there
    in6_addr address{};
    return inet_pton(AF_INET6, std::string(text).c_str(), &address) == 1;
}

}  // namespace

std::string_view normalize_server_name(std::string_view sent, std::string& out) {
    if (!std::ranges::all_of(sent, may_occur)) return "server name with a byte that no name has";
    std::string_view name = without_trailing_dot(sent);
    if (name.size() > server_name_bytes_max) return "server name too long";
    for (std::string_view rest = name;;) {
        std::size_t dot = std::min(rest.find('.'), rest.size());
        if (dot == 0) return "server name with an empty label";
        if (dot > label_bytes_max) return "server name with a label too long";
        if (dot == rest.size()) break;
        rest.remove_prefix(dot + 1);
    }
    out = name;
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return {};
}

bool is_address(std::string_view sent) {
    std::string_view text = without_trailing_dot(sent);
    return is_dotted_quad(text) || is_ipv6(text);
}

}  // namespace sluice::tls
