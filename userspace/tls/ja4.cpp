// JA4 of a ClientHello over TCP, after FoxIO's technical_details/JA4.md:
//
//   t  13 d 15 16 h2 _ 8daaf6152771 _ e5627efa2ab1
//   |  |  | |  |  |    |              the sorted extensions without server_name and ALPN, "_", signature
//   algorithms |  |  | |  |  |    the sorted cipher suites |  |  | |  |  first and last character of the
//   first ALPN protocol, 00 without one |  |  | |  extensions, at most 99 |  |  | cipher suites, at most 99
//   |  |  d when server_name was sent, whatever its value; i when not
//   |  highest version offered
//   TLS over TCP
//
// without the blanks. The last two are SHA-256 cut to 12 hex digits, or 12 zeros for an empty list. GREASE
// counts nowhere.
#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "userspace/tls/client_hello.h"

namespace sluice::tls {
namespace {

constexpr std::uint16_t server_name_extension = 0;
constexpr std::uint16_t alpn_extension = 16;
constexpr std::size_t hash_digits = 12;

char hex_digit(unsigned value) {
    return "0123456789abcdef"[value & 0xf];
}

std::string_view version_code(std::uint16_t version) {
    switch (version) {
        case 0x0304:
            return "13";
        case 0x0303:
            return "12";
        case 0x0302:
            return "11";
        case 0x0301:
            return "10";
        case 0x0300:
            return "s3";
        default:
            return "00";
    }
}

std::string count_code(std::size_t count) {
    count = std::min<std::size_t>(count, 99);
    return {static_cast<char>('0' + count / 10), static_cast<char>('0' + count % 10)};
}

bool is_alphanumeric(unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// When an end is not alphanumeric, the ends of the protocol's hexadecimal form stand in.
std::string alpn_code(const std::vector<std::string>& alpn) {
    if (alpn.empty() || alpn.front().empty()) return "00";
    auto first = static_cast<unsigned char>(alpn.front().front());
    auto last = static_cast<unsigned char>(alpn.front().back());
    if (is_alphanumeric(first) && is_alphanumeric(last)) return {alpn.front().front(), alpn.front().back()};
    return {hex_digit(first >> 4u), hex_digit(last)};
}

std::vector<std::uint16_t> without_grease(std::vector<std::uint16_t> values) {
    std::erase_if(values, is_grease);
    return values;
}

// "0005,000a,..."
std::string hex_list(const std::vector<std::uint16_t>& values) {
    std::string out;
    for (std::uint16_t value : values) {
        if (!out.empty()) out += ',';
        for (int shift = 12; shift >= 0; shift -= 4)
            out += hex_digit(static_cast<unsigned>(value) >> shift);
    }
    return out;
}

std::string short_hash(const std::string& text) {
    if (text.empty()) return std::string(hash_digits, '0');
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
    std::vector<unsigned char> bytes(text.begin(), text.end());
    SHA256(bytes.data(), bytes.size(), digest.data());
    std::string out;
    for (std::size_t i = 0; i < hash_digits / 2; ++i) {
        out += hex_digit(digest[i] >> 4u);
        out += hex_digit(digest[i]);
    }
    return out;
}

}  // namespace

std::string ja4(const ClientHello& hello) {
    if (hello.status != HelloStatus::found && hello.status != HelloStatus::no_server_name) return {};
    std::vector<std::uint16_t> ciphers = without_grease(hello.cipher_suites);
    std::vector<std::uint16_t> extensions = without_grease(hello.extensions);
    std::size_t extension_count = extensions.size();
    auto highest = std::ranges::max_element(hello.versions);
    bool named = std::ranges::find(extensions, server_name_extension) != extensions.end();

    std::ranges::sort(ciphers);
    std::erase(extensions, server_name_extension);
    std::erase(extensions, alpn_extension);
    std::ranges::sort(extensions);
    std::string extension_text = hex_list(extensions);
    std::string signatures = hex_list(without_grease(hello.signature_algorithms));
    if (!signatures.empty()) extension_text += "_" + signatures;

    std::string out = "t";
    out += highest == hello.versions.end() ? "00" : version_code(*highest);
    out += named ? 'd' : 'i';
    out += count_code(ciphers.size());
    out += count_code(extension_count);
    out += alpn_code(hello.alpn);
    out += '_' + short_hash(hex_list(ciphers));
    out += '_' + short_hash(extension_text);
    return out;
}

}  // namespace sluice::tls
