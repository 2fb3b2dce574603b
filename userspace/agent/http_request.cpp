#include "userspace/agent/http_request.h"

#include <algorithm>
#include <optional>

#include "policy/address.h"
#include "policy/server_name.h"

namespace sluice::agent {
namespace {

using Status = HttpRequest::Status;

HttpRequest malformed(std::string_view why) {
    return {.status = Status::malformed, .host = {}, .why = why};
}

// Cuts the first line off, without its end; nothing when the end has not come yet.
std::optional<std::string_view> take_line(std::string_view& text) {
    const std::size_t end = text.find('\n');
    if (end == text.npos) return std::nullopt;
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

bool is_host_field(std::string_view name) {
    constexpr std::string_view host = "host";
    return std::ranges::equal(name, host, {}, [](char c) { return static_cast<char>(c | 0x20); });
}

std::string_view trim(std::string_view text) {
    while (text.starts_with(' ') || text.starts_with('\t'))
        text.remove_prefix(1);
    while (text.ends_with(' ') || text.ends_with('\t'))
        text.remove_suffix(1);
    return text;
}

// RFC 3986 3.2: host [":" port]. The name in it, empty for an IP literal or when there is none; nothing when
// it is no authority.
std::optional<std::string> host_of(std::string_view authority) {
    if (authority.starts_with('['))
        return authority.find(']') == authority.npos ? std::nullopt : std::optional("");
    const std::size_t colon = authority.find(':');
    if (colon != authority.npos) {
        const std::string_view port = authority.substr(colon + 1);
        if (!std::ranges::all_of(port, [](char c) { return c >= '0' && c <= '9'; })) return std::nullopt;
        authority = authority.substr(0, colon);
    }
    if (authority.empty() || policy::IpAddress::parse(authority)) return "";
    auto name = policy::canonical_server_name(authority);
    if (!name) return std::nullopt;
    // An address with a trailing dot is one to many resolvers.
    if (policy::IpAddress::parse(*name)) return "";
    return std::move(*name);
}

// The authority in the request's target, or nothing when it is a path or `*` (RFC 9112 3.2).
std::optional<std::string_view> authority_of(std::string_view method, std::string_view target) {
    if (method == "CONNECT") return target;
    const std::size_t scheme_end = target.find("://");
    if (target.starts_with('/') || scheme_end == target.npos) return std::nullopt;
    target.remove_prefix(scheme_end + 3);
    return target.substr(0, target.find_first_of("/?#"));
}

// The fields up to the empty line. Empty `why`: it is reached, or `complete` stays false.
std::string_view read_fields(std::string_view text, std::optional<std::string_view>& host, bool& complete) {
    while (auto line = take_line(text)) {
        if (line->empty()) {
            complete = true;
            return {};
        }
        if (line->front() == ' ' || line->front() == '\t') return "folded line in the request's head";
        const std::size_t colon = line->find(':');
        if (colon == line->npos || colon == 0) return "line without a field name in the request's head";
        const std::string_view name = line->substr(0, colon);
        if (line->find('\0') != line->npos) return "zero byte in the request's head";
        // A line's end to some servers (RFC 9112 2.2).
        if (line->find('\r') != line->npos) return "carriage return within a line of the request's head";
        if (name.find_first_of(" \t\r") != name.npos) return "space in a field name of the request's head";
        if (!is_host_field(name)) continue;
        if (host) return "two Host fields";
        host = trim(line->substr(colon + 1));
    }
    return {};
}

}  // namespace

HttpRequest parse_http_request(std::span<const std::uint8_t> bytes) {
    std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text.starts_with("PRI * HTTP/2.0")) return {.status = Status::complete, .host = {}, .why = {}};
    const auto request_line = take_line(text);
    if (!request_line) return {};
    const std::size_t method_end = request_line->find(' ');
    const std::size_t target_end = request_line->rfind(' ');
    if (method_end == request_line->npos || target_end <= method_end ||
        !request_line->substr(target_end + 1).starts_with("HTTP/") ||
        request_line->find('\0') != request_line->npos || request_line->find('\r') != request_line->npos) {
        return malformed("request line without a version");
    }
    std::optional<std::string_view> field;
    bool complete = false;
    if (const std::string_view why = read_fields(text, field, complete); !why.empty()) return malformed(why);
    if (!complete) return {};

    const auto authority = authority_of(request_line->substr(0, method_end),
                                        request_line->substr(method_end + 1, target_end - method_end - 1));
    const auto host = host_of(field.value_or(""));
    const auto target_host = authority ? host_of(*authority) : host;
    if (!host || !target_host) return malformed("Host that is no name");
    if (field && *host != *target_host) return malformed("Host and target that differ");
    return {.status = Status::complete, .host = *target_host, .why = {}};
}

}  // namespace sluice::agent
