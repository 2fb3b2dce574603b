// A ClientHello, field by field (RFC 8446 4.1.2; the same bytes since SSL 3.0):
//
//   legacy_version               2 bytes
//   random                      32 bytes
//   legacy_session_id            <0..32>        1 byte of length before it
//   cipher_suites                <2..2^16-2>    2 bytes of length, 2 per suite
//   legacy_compression_methods   <1..2^8-1>     1 byte of length
//   extensions                   <0..2^16-1>    2 bytes of length; absent in the oldest hellos
//     extension_type             2 bytes
//     extension_data             <0..2^16-1>    2 bytes of length
//
// Each reader below returns what is wrong, a static text, empty when nothing is. A vector must fill exactly
// the space that its surroundings give it: bytes that two parsers could understand differently are refused.
#include "userspace/tls/client_hello.h"

#include <algorithm>
#include <bitset>

#include "userspace/tls/byte_reader.h"
#include "userspace/tls/encrypted_hello.h"
#include "userspace/tls/hello_records.h"
#include "userspace/tls/server_name.h"

namespace sluice::tls {
namespace {

constexpr std::size_t random_size = 32;
constexpr std::size_t session_id_bytes_max = 32;

// Clients offer one to five; two bytes on the wire make a string of 32 bytes or more, so thousands of them
// would multiply what a hello costs us.
constexpr std::size_t alpn_protocols_max = 64;

enum Extension : std::uint16_t {
    server_name_extension = 0,
    supported_groups_extension = 10,
    ec_point_formats_extension = 11,
    signature_algorithms_extension = 13,
    alpn_extension = 16,
    early_data_extension = 42,
    supported_versions_extension = 43,
    encrypted_client_hello_extension = 0xfe0d,
};

// An empty list is against the grammar, here and in the other readers that take one, but it reads one way
// only: to refuse it is the server's business.
bool read_u16_list(Bytes list, std::vector<std::uint16_t>& out) {
    if (list.size() % 2 != 0) return false;
    out.reserve(list.size() / 2);
    ByteReader reader(list);
    std::uint16_t value = 0;
    while (reader.u16(value))
        out.push_back(value);
    return true;
}

std::string as_text(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

// ServerNameList <1..2^16-1> of {name_type, HostName <1..2^16-1>} (RFC 6066 3). host_name is the only type
// there is, and servers (OpenSSL, BoringSSL, GnuTLS) take a list of exactly one; so do we.
std::string_view read_server_name(Bytes data, ClientHello& hello) {
    ByteReader reader(data);
    Bytes list;
    if (!reader.vector16(list) || !reader.empty()) return "server_name lengths";
    ByteReader names(list);
    std::uint8_t type = 0;
    Bytes name;
    if (!names.u8(type) || !names.vector16(name)) return "server_name lengths";
    if (type != 0) return "server_name of an unknown type";
    if (!names.empty()) return "more than one server name";
    std::string sent = as_text(name);
    if (is_address(sent)) {
        hello.server_name = sent;
        hello.server_name_is_address = true;
        return {};
    }
    return normalize_server_name(sent, hello.server_name);
}

// ProtocolNameList <2..2^16-1> of ProtocolName <1..2^8-1> (RFC 7301 3.1).
std::string_view read_alpn(Bytes data, ClientHello& hello) {
    ByteReader reader(data);
    Bytes list;
    if (!reader.vector16(list) || !reader.empty() || list.empty()) return "ALPN lengths";
    ByteReader protocols(list);
    while (!protocols.empty()) {
        Bytes protocol;
        if (!protocols.vector8(protocol)) return "ALPN lengths";
        if (protocol.empty()) return "empty ALPN protocol name";
        if (hello.alpn.size() == alpn_protocols_max) return "too many ALPN protocol names";
        hello.alpn.push_back(as_text(protocol));
    }
    return {};
}

std::string_view read_versions(Bytes data, ClientHello& hello) {
    ByteReader reader(data);
    Bytes list;
    std::vector<std::uint16_t> versions;
    if (!reader.vector8(list) || !reader.empty() || !read_u16_list(list, versions)) {
        return "supported_versions lengths";
    }
    std::erase_if(versions, is_grease);
    hello.versions = std::move(versions);
    return {};
}

std::string_view read_point_formats(Bytes data, ClientHello& hello) {
    ByteReader reader(data);
    Bytes list;
    if (!reader.vector8(list) || !reader.empty()) return "ec_point_formats lengths";
    hello.point_formats.assign(list.begin(), list.end());
    return {};
}

// supported_groups and signature_algorithms: one list of 16-bit numbers (RFC 8446 4.2.3 and 4.2.7).
bool read_u16_extension(Bytes data, std::vector<std::uint16_t>& out) {
    ByteReader reader(data);
    Bytes list;
    return reader.vector16(list) && reader.empty() && read_u16_list(list, out);
}

std::string_view read_extension(std::uint16_t type, Bytes data, ClientHello& hello) {
    switch (type) {
        case server_name_extension:
            return read_server_name(data, hello);
        case alpn_extension:
            return read_alpn(data, hello);
        case supported_versions_extension:
            return read_versions(data, hello);
        case ec_point_formats_extension:
            return read_point_formats(data, hello);
        case supported_groups_extension:
            return read_u16_extension(data, hello.groups) ? "" : "supported_groups lengths";
        case signature_algorithms_extension:
            return read_u16_extension(data, hello.signature_algorithms) ? "" : "signature_algorithms lengths";
        case encrypted_client_hello_extension:
            return read_encrypted_hello(data, hello.ech);
        default:
            return {};
    }
}

std::string_view read_extensions(Bytes block, ClientHello& hello) {
    std::bitset<1 << 16> seen;
    ByteReader reader(block);
    while (!reader.empty()) {
        std::uint16_t type = 0;
        Bytes data;
        if (!reader.u16(type) || !reader.vector16(data)) return "extension lengths";
        if (seen.test(type)) return "an extension occurs twice";
        seen.set(type);
        hello.extensions.push_back(type);
        std::string_view why = read_extension(type, data, hello);
        if (!why.empty()) return why;
    }
    return {};
}

std::string_view read_body(Bytes body, ClientHello& hello) {
    ByteReader reader(body);
    Bytes random;
    Bytes session_id;
    Bytes cipher_suites;
    Bytes compression_methods;
    if (!reader.u16(hello.legacy_version) || !reader.take(random_size, random)) return "hello too short";
    if (hello.legacy_version >> 8 != 3) return "client version is not TLS";
    if (!reader.vector8(session_id)) return "session id length";
    if (session_id.size() > session_id_bytes_max) return "session id too long";
    if (!reader.vector16(cipher_suites)) return "cipher suites length";
    if (!read_u16_list(cipher_suites, hello.cipher_suites)) return "cipher suites length";
    if (!reader.vector8(compression_methods)) return "compression methods length";
    hello.versions = {hello.legacy_version};
    if (reader.empty()) return {};
    Bytes extensions;
    if (!reader.vector16(extensions)) return "extensions length";
    if (!reader.empty()) return "bytes after the extensions";
    return read_extensions(extensions, hello);
}

ClientHello parse(Bytes stream, Turn turn) {
    std::vector<std::uint8_t> joined;
    HelloRecords records = read_hello_records(stream, turn, joined);
    ClientHello hello;
    hello.status = records.status;
    hello.why = records.why;
    if (records.status == HelloStatus::found) hello.why = read_body(records.body, hello);
    if (!hello.why.empty()) {
        // Nothing that was read before the contradiction may be taken for a fact.
        std::string_view why = hello.why;
        hello = {};
        hello.status = HelloStatus::malformed;
        hello.why = why;
    } else if (records.status == HelloStatus::found) {
        bool named = !hello.server_name.empty() && !hello.server_name_is_address;
        hello.status = named ? HelloStatus::found : HelloStatus::no_server_name;
        if (hello.ech == Ech::grease && is_ech_public_name(hello.server_name)) hello.ech = Ech::outer;
    }
    hello.records = records.records;
    hello.bytes = records.bytes;
    hello.bytes_needed = records.bytes_needed;
    return hello;
}

}  // namespace

bool offers_early_data(const ClientHello& hello) {
    return std::ranges::find(hello.extensions, early_data_extension) != hello.extensions.end();
}

std::string_view to_string(HelloStatus status) {
    switch (status) {
        case HelloStatus::found:
            return "found";
        case HelloStatus::incomplete:
            return "incomplete";
        case HelloStatus::no_server_name:
            return "no_server_name";
        case HelloStatus::not_tls:
            return "not_tls";
        case HelloStatus::malformed:
            return "malformed";
    }
    return "?";
}

std::string_view to_string(Ech ech) {
    switch (ech) {
        case Ech::none:
            return "none";
        case Ech::grease:
            return "grease";
        case Ech::outer:
            return "outer";
    }
    return "?";
}

ClientHello parse_client_hello(std::span<const std::uint8_t> stream) {
    return parse(stream, Turn::first_hello);
}

ClientHello parse_second_client_hello(std::span<const std::uint8_t> stream) {
    return parse(stream, Turn::second_hello);
}

}  // namespace sluice::tls
