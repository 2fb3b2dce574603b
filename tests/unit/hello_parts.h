#pragma once
// ClientHellos put together by hand, so that a test can be wrong in exactly one place, and the ways to cut
// them into records. Layout: RFC 8446 4.1.2 and 5.1.
#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::test {

using Octets = std::vector<std::uint8_t>;

inline void append(Octets& out, const Octets& more) {
    out.insert(out.end(), more.begin(), more.end());
}
inline void append(Octets& out, std::string_view more) {
    out.insert(out.end(), more.begin(), more.end());
}

inline Octets number(std::size_t value, int width) {
    Octets out;
    for (int shift = 8 * (width - 1); shift >= 0; shift -= 8)
        out.push_back((value >> shift) & 0xff);
    return out;
}

// `body` with its length in `width` bytes before it.
inline Octets sized(int width, const auto& body) {
    Octets out = number(body.size(), width);
    append(out, body);
    return out;
}

inline Octets numbers(const std::vector<std::uint16_t>& values) {
    Octets out;
    for (std::uint16_t value : values)
        append(out, number(value, 2));
    return out;
}

inline Octets server_name(std::string_view name, std::uint8_t type = 0) {
    Octets entry{type};
    append(entry, sized(2, name));
    return sized(2, entry);
}

inline Octets alpn(const std::vector<std::string>& protocols) {
    Octets list;
    for (const std::string& protocol : protocols)
        append(list, sized(1, protocol));
    return sized(2, list);
}

// An outer encrypted_client_hello (RFC 9849 5) with a payload of `size` bytes.
inline Octets outer_ech(std::size_t size) {
    Octets out{0, 0, 1, 0, 1, 0x5c};
    append(out, sized(2, Octets(32, 0xee)));
    append(out, sized(2, Octets(size, 0xdd)));
    return out;
}

struct HelloParts {
    std::uint16_t legacy_version = 0x0303;
    Octets session_id = Octets(32, 0x55);
    std::vector<std::uint16_t> cipher_suites = {0x1301, 0x1302, 0xc02b};
    Octets compression = {0};
    std::vector<std::pair<std::uint16_t, Octets>> extensions = {{0, server_name("www.example.com")}};
    bool extensions_absent = false;
    Octets after_extensions = {};
};

// The handshake message, its header included.
inline Octets message(const HelloParts& parts) {
    Octets body = number(parts.legacy_version, 2);
    append(body, Octets(32, 0xaa));
    append(body, sized(1, parts.session_id));
    append(body, sized(2, numbers(parts.cipher_suites)));
    append(body, sized(1, parts.compression));
    if (!parts.extensions_absent) {
        Octets block;
        for (const auto& [type, data] : parts.extensions) {
            append(block, number(type, 2));
            append(block, sized(2, data));
        }
        append(body, sized(2, block));
    }
    append(body, parts.after_extensions);
    Octets out{1};
    append(out, sized(3, body));
    return out;
}

inline Octets record(const Octets& fragment, std::uint8_t type = 22) {
    Octets out{type, 3, 1};
    append(out, sized(2, fragment));
    return out;
}

// `handshake` in records of `size` bytes each, with an empty record before each one when asked for.
inline Octets in_records(const Octets& handshake, std::size_t size, bool empty_between = false) {
    Octets out;
    for (std::size_t at = 0; at < handshake.size(); at += size) {
        if (empty_between) append(out, record({}));
        auto first = handshake.begin() + static_cast<std::ptrdiff_t>(at);
        auto count = static_cast<std::ptrdiff_t>(std::min(size, handshake.size() - at));
        append(out, record(Octets(first, first + count)));
    }
    return out;
}

inline Octets stream(const HelloParts& parts) {
    return in_records(message(parts), 1 << 14);
}

// What a current Chromium sends: GREASE in every list, X25519MLKEM768 (1,216 bytes of key share), GREASE ECH.
// Its JA4 is published as t13d1516h2_8daaf6152771_d8a2da3f94cd.
inline HelloParts chromium_hello(std::string_view name) {
    Octets shares = number(0x8a8a, 2);
    append(shares, sized(2, Octets{0}));
    append(shares, number(0x11ec, 2));
    append(shares, sized(2, Octets(1216, 0x77)));
    append(shares, number(0x001d, 2));
    append(shares, sized(2, Octets(32, 0x66)));
    HelloParts parts;
    parts.cipher_suites = {0x4a4a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030,
                           0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035};
    parts.extensions = {
        {0x6a6a, {}},
        {0xff01, {0}},
        {0x0033, sized(2, shares)},
        {0x44cd, sized(2, Octets{2, 'h', '2'})},
        {0x002d, {1, 1}},
        {0x0010, alpn({"h2", "http/1.1"})},
        {0x0000, server_name(name)},
        {0x000d, sized(2, numbers({0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601}))},
        {0x0012, {}},
        {0x0005, {1, 0, 0, 0, 0}},
        {0x0023, {}},
        {0x000a, sized(2, numbers({0x8a8a, 0x11ec, 0x001d, 0x0017, 0x0018}))},
        {0x002b, sized(1, numbers({0xdada, 0x0304, 0x0303}))},
        {0xfe0d, outer_ech(208)},
        {0x001b, {2, 0, 2}},
        {0x000b, {1, 0}},
        {0x0017, {}},
        {0x3a3a, {0}},
    };
    return parts;
}

inline Octets from_base64(std::string_view text) {
    Octets out(text.size() / 4 * 3);
    EVP_DecodeBlock(out.data(), reinterpret_cast<const unsigned char*>(text.data()),
                    static_cast<int>(text.size()));
    while (text.ends_with('=')) {
        text.remove_suffix(1);
        out.pop_back();
    }
    return out;
}

}  // namespace sluice::test
