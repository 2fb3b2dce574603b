#include "userspace/names/dns_answer.h"

#include <arpa/nameser.h>

#include "userspace/names/cares.h"

// After <arpa/nameser.h>: its macros read a header's fields.
#include <ares_dns.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include "policy/server_name.h"

namespace sluice::names {
namespace {

// Of one answer; c-ares leaves out what does not fit.
constexpr int addresses_of_answer_max = 512;

policy::IpAddress address_of(const ares_addrttl& record) {
    std::array<std::uint8_t, 4> bytes{};
    std::memcpy(bytes.data(), &record.ipaddr, bytes.size());
    return policy::IpAddress::v4(bytes);
}

policy::IpAddress address_of(const ares_addr6ttl& record) {
    std::array<std::uint8_t, 16> bytes{};
    std::memcpy(bytes.data(), &record.ip6addr, bytes.size());
    return policy::IpAddress::v6(bytes);
}

template <typename Record, typename Parse>
std::optional<DnsAnswer> read_records(Parse parse, const unsigned char* message, int bytes) {
    std::vector<Record> records(addresses_of_answer_max);
    int count = addresses_of_answer_max;
    const int status = parse(message, bytes, nullptr, records.data(), &count);
    if (status == ARES_ENODATA) return DnsAnswer{};
    if (status != ARES_SUCCESS) return std::nullopt;
    DnsAnswer answer;
    int ttl = std::numeric_limits<int>::max();
    for (const Record& record : std::span(records).first(static_cast<std::size_t>(count))) {
        answer.addresses.push_back(address_of(record));
        ttl = std::min(ttl, record.ttl);
    }
    answer.ttl = std::chrono::seconds(std::max(0, count > 0 ? ttl : 0));
    return answer;
}

}  // namespace

std::optional<DnsAnswer> read_answer(Family family, const unsigned char* message, int bytes) {
    if (family == Family::v4) return read_records<ares_addrttl>(ares_parse_a_reply, message, bytes);
    return read_records<ares_addr6ttl>(ares_parse_aaaa_reply, message, bytes);
}

std::optional<Question> question_of_answer(const unsigned char* message, int bytes) {
    if (bytes < HFIXEDSZ || !DNS_HEADER_QR(message) || DNS_HEADER_RCODE(message) != NOERROR ||
        DNS_HEADER_OPCODE(message) != 0 || DNS_HEADER_QDCOUNT(message) != 1) {
        return std::nullopt;
    }
    char* text = nullptr;
    long length = 0;
    if (ares_expand_name(message + HFIXEDSZ, message, bytes, &text, &length) != ARES_SUCCESS)
        return std::nullopt;
    const std::unique_ptr<char, decltype(&ares_free_string)> owned(text, ares_free_string);
    const unsigned char* rest = message + HFIXEDSZ + length;
    if (bytes - HFIXEDSZ - length < QFIXEDSZ || DNS_QUESTION_CLASS(rest) != C_IN) return std::nullopt;
    const int type = DNS_QUESTION_TYPE(rest);
    auto name = policy::canonical_server_name(text);
    if (!name || (type != T_A && type != T_AAAA)) return std::nullopt;
    return Question{.name = std::move(*name), .family = type == T_A ? Family::v4 : Family::v6};
}

}  // namespace sluice::names
