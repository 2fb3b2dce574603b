#pragma once
// The first bytes of a TLS client, read: bytes -> ClientHello. Pure: no socket, no state between calls, no
// allocation that a hostile hello could amplify. The caller hands in everything it has seen so far, from the
// first byte of the stream, and asks again with more when the answer is `incomplete`.
//
// Sources: RFC 8446 (TLS 1.3) 4.1.2, 4.2 and 5.1; RFC 5246 (TLS 1.2) 7.4.1.2; RFC 6066 3 (server_name);
// RFC 7301 (ALPN); RFC 8701 (GREASE); RFC 9849 (ECH, extension 0xfe0d); the JA4 specification (FoxIO).
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::tls {

enum class HelloStatus : std::uint8_t {
    found,           // a whole hello with one valid server name
    incomplete,      // every byte so far fits a hello; `bytes_needed` says how many to wait for
    no_server_name,  // a whole hello without server_name, or whose server_name is an IP literal
    not_tls,         // cannot be the start of a TLS handshake: some other protocol
    malformed,       // claims to be a hello and contradicts itself; never a guess
};
std::string_view to_string(HelloStatus status);

enum class Ech : std::uint8_t {
    none,    // nothing is hidden: no encrypted_client_hello, or its inner form, which hides no name
    grease,  // an outer form that is GREASE as far as an observer can tell: see encrypted_hello.h
    outer,   // a real outer ClientHello: the server name seen is the public name only
};
std::string_view to_string(Ech ech);

struct ClientHello {
    HelloStatus status = HelloStatus::incomplete;
    std::string server_name;  // lower case, no trailing dot; an IP literal is reported here as sent
    bool server_name_is_address = false;  // an IP literal: status is no_server_name
    std::vector<std::string> alpn;        // in the client's order, as sent: escape before printing
    std::vector<std::uint16_t> versions;  // supported_versions as sent, less GREASE; else legacy_version
    std::uint16_t legacy_version = 0;
    std::vector<std::uint16_t> cipher_suites;  // as sent, GREASE included
    std::vector<std::uint16_t> extensions;     // types, in order, as sent, GREASE included
    std::vector<std::uint16_t> groups;         // supported_groups as sent
    std::vector<std::uint8_t> point_formats;
    std::vector<std::uint16_t> signature_algorithms;
    Ech ech = Ech::none;
    std::size_t records = 0;       // TLS records that carry the hello, empty ones included; whole ones so far
    std::size_t bytes = 0;         // where the hello ends in the stream, record headers included; 0: not yet
    std::size_t bytes_needed = 0;  // with `incomplete`: the least stream length at which to ask again
    std::string_view why;          // with `malformed`: what is wrong, a static text
};

// Reads the stream's first bytes. Never throws for any input; memory is bounded by a small multiple of the
// input.
ClientHello parse_client_hello(std::span<const std::uint8_t> stream);

// The same for what follows a HelloRetryRequest, `stream` beginning where the first hello ended (its
// `bytes`). The client may send a change_cipher_spec and refused early data before its second hello (RFC
// 8446 4.2.10 and D.4): these records are skipped and counted in `bytes`, not in `records`.
ClientHello parse_second_client_hello(std::span<const std::uint8_t> stream);

// Whether application data may follow it before the server has answered (RFC 8446 4.2.10).
bool offers_early_data(const ClientHello& hello);

// Values that clients send to keep parsers tolerant, and that mean nothing: 0x0a0a, 0x1a1a, ... 0xfafa (RFC
// 8701 2).
constexpr bool is_grease(std::uint16_t value) {
    return (value & 0x0f0f) == 0x0a0a && (value >> 8) == (value & 0xff);
}

// JA4 of a complete hello over TCP, e.g. "t13d1516h2_8daaf6152771_e5627efa2ab1"; empty unless status is found
// or no_server_name.
std::string ja4(const ClientHello& hello);

}  // namespace sluice::tls
