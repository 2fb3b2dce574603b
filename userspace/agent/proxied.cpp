#include "userspace/agent/proxied.h"

#include "userspace/agent/socks_request.h"

namespace sluice::agent {
namespace {

using namespace std::string_view_literals;

constexpr std::uint16_t no_acceptable_method = 0xff;

std::string_view reason_phrase(std::uint16_t status) {
    switch (status) {
        case 400:
            return "400 Bad Request";
        case 403:
            return "403 Forbidden";
        case 405:
            return "405 Method Not Allowed\r\nAllow: CONNECT";
        case 408:
            return "408 Request Timeout";
        case 431:
            return "431 Request Header Fields Too Large";
        case 502:
            return "502 Bad Gateway";
        case 504:
            return "504 Gateway Timeout";
        case 505:
            return "505 HTTP Version Not Supported";
        default:
            return "503 Service Unavailable";
    }
}

// For whoever looks at what a browser or curl shows.
std::string_view explanation(std::uint16_t status) {
    switch (status) {
        case 403:
            return "sluice: the gateway's policy does not let this pass\n";
        case 405:
            return "sluice: this proxy takes CONNECT only, as for https://\n";
        case 502:
        case 504:
            return "sluice: the server cannot be reached\n";
        default:
            return "sluice: refused\n";
    }
}

std::uint16_t http_status(flow_end why) {
    switch (why) {
        case FLOW_END_denied:
        case FLOW_END_proxy_destination_refused:
            return 403;
        case FLOW_END_proxy_request_refused:
            return 408;  // unless the request itself says something else
        case FLOW_END_upstream_refused:
        case FLOW_END_upstream_unreachable:
        case FLOW_END_upstream_failed:
        case FLOW_END_name_unresolved:
            return 502;
        case FLOW_END_upstream_timeout:
            return 504;
        default:
            return 503;
    }
}

SocksReply socks_reply(flow_end why) {
    switch (why) {
        case FLOW_END_denied:
        case FLOW_END_proxy_destination_refused:
            return SocksReply::not_allowed;
        case FLOW_END_upstream_refused:
            return SocksReply::connection_refused;
        case FLOW_END_upstream_unreachable:
        case FLOW_END_upstream_timeout:
        case FLOW_END_name_unresolved:
            return SocksReply::host_unreachable;
        default:
            return SocksReply::general_failure;
    }
}

}  // namespace

std::string proxy_refusal(const Proxied& proxied, flow_end why) {
    if (proxied.via == policy::Via::connect) {
        const std::uint16_t status = proxied.why_not != 0 ? proxied.why_not : http_status(why);
        const std::string_view body = explanation(status);
        return "HTTP/1.1 " + std::string(reason_phrase(status)) +
               "\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
               "\r\nConnection: close\r\n\r\n" + std::string(body);
    }
    if (proxied.via != policy::Via::socks5) return {};
    if (proxied.why_not == no_acceptable_method) return std::string(socks_method(false));
    std::string reply("\5\1\0\1\0\0\0\0\0\0", 10);
    reply[1] = static_cast<char>(proxied.why_not != 0 ? proxied.why_not
                                                      : static_cast<std::uint16_t>(socks_reply(why)));
    return reply;
}

std::string_view proxy_success(policy::Via via) {
    return via == policy::Via::socks5 ? "\5\0\0\1\0\0\0\0\0\0"sv
                                      : "HTTP/1.1 200 Connection established\r\n\r\n"sv;
}

std::string_view socks_method(bool no_authentication) {
    return no_authentication ? "\5\0"sv : "\5\xff"sv;
}

}  // namespace sluice::agent
