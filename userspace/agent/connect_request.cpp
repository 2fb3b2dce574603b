#include "userspace/agent/connect_request.h"

#include <algorithm>
#include <charconv>

namespace sluice::agent {
namespace {

using Status = ConnectRequest::Status;

constexpr std::uint16_t bad_request = 400;
constexpr std::uint16_t method_not_allowed = 405;
constexpr std::uint16_t head_too_large = 431;
constexpr std::uint16_t version_not_supported = 505;

ConnectRequest refused(std::uint16_t http_status) {
    return {.status = Status::refused, .target = {}, .http_status = http_status};
}

// RFC 9110 5.6.2.
bool is_token(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("!#$%&'*+-.^_`|~").contains(c);
    });
}

bool is_control(char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
}

bool equals_ignoring_case(std::string_view text, std::string_view lower) {
    return std::ranges::equal(text, lower, {},
                              [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
}

// RFC 9112 3.2.3: authority-form, host ":" port.
std::optional<ProxyTarget> parse_authority(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == text.npos) return std::nullopt;
    std::string_view host = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    const bool has_brackets = host.starts_with('[') && host.ends_with(']');
    if (has_brackets) host = host.substr(1, host.size() - 2);
    auto target = ProxyTarget::parse(host, port);
    // An IPv6 literal has brackets, and nothing else has.
    if (target && has_brackets != host.contains(':')) return std::nullopt;
    return target;
}

// 0: it is fine.
std::uint16_t read_request_line(std::string_view line, ProxyTarget& target) {
    const std::size_t method_end = line.find(' ');
    if (method_end == line.npos || !is_token(line.substr(0, method_end))) return bad_request;
    if (line.substr(0, method_end) != "CONNECT") return method_not_allowed;
    const std::size_t target_end = line.find(' ', method_end + 1);
    if (target_end == line.npos) return bad_request;
    const std::string_view version = line.substr(target_end + 1);
    if (version != "HTTP/1.1" && version != "HTTP/1.0")
        return version.starts_with("HTTP/") ? version_not_supported : bad_request;
    auto parsed = parse_authority(line.substr(method_end + 1, target_end - method_end - 1));
    if (!parsed) return bad_request;
    target = std::move(*parsed);
    return 0;
}

std::uint16_t read_field(std::string_view line) {
    const std::size_t colon = line.find(':');
    if (colon == line.npos || !is_token(line.substr(0, colon))) return bad_request;
    const std::string_view name = line.substr(0, colon);
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ') || value.starts_with('\t'))
        value.remove_prefix(1);
    if (std::ranges::any_of(value, is_control)) return bad_request;
    if (equals_ignoring_case(name, "transfer-encoding")) return bad_request;
    if (equals_ignoring_case(name, "content-length") && value != "0") return bad_request;
    return 0;
}

}  // namespace

ConnectRequest parse_connect_request(std::span<const std::uint8_t> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    ConnectRequest request;
    std::size_t at = 0;
    for (bool is_first = true;; is_first = false) {
        const std::size_t end = text.find('\n', at);
        if (end == text.npos) break;
        if (end == at || text[end - 1] != '\r') return refused(bad_request);
        const std::string_view line = text.substr(at, end - 1 - at);
        at = end + 1;
        if (at > connect_head_bytes_max) return refused(head_too_large);
        if (line.empty() && !is_first) {
            request.status = Status::complete;
            request.bytes = at;
            return request;
        }
        const std::uint16_t wrong = is_first ? read_request_line(line, request.target) : read_field(line);
        if (wrong != 0) return refused(wrong);
    }
    if (text.size() >= connect_head_bytes_max) return refused(head_too_large);
    return {};
}

}  // namespace sluice::agent
