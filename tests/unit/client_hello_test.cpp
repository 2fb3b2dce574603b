#include "userspace/tls/client_hello.h"

#include <gtest/gtest.h>

#include "tests/unit/hello_parts.h"
#include "tests/unit/ja3.h"
#include "tests/unit/real_hellos.h"

namespace sluice::tls {
namespace {

using namespace sluice::test;
using namespace std::string_view_literals;

ClientHello parse(const Octets& bytes) {
    return parse_client_hello(bytes);
}

ClientHello parse_with(std::uint16_t type, const Octets& data) {
    HelloParts parts;
    parts.extensions = {{type, data}};
    return parse(stream(parts));
}

// Every hello that the tests below cut to pieces: real ones, a post-quantum one, and the oldest form.
std::vector<std::pair<std::string, Octets>> valid_hellos() {
    std::vector<std::pair<std::string, Octets>> hellos;
    for (const RealHello& real : real_hellos)
        hellos.emplace_back(real.client, from_base64(real.base64));
    hellos.emplace_back("chromium", stream(chromium_hello("www.example.com")));
    HelloParts oldest;
    oldest.extensions_absent = true;
    hellos.emplace_back("without extensions", stream(oldest));
    return hellos;
}

void expect_every_prefix_incomplete(const Octets& whole, const std::string& what) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
        ClientHello hello = parse_client_hello(std::span(whole).first(size));
        ASSERT_EQ(hello.status, HelloStatus::incomplete) << what << " cut to " << size << ": " << hello.why;
        ASSERT_GT(hello.bytes_needed, size) << what;
        ASSERT_LE(hello.bytes_needed, whole.size()) << what << " cut to " << size;
        ASSERT_EQ(hello.server_name, "") << what;
    }
}

TEST(ClientHello, OfRealClientsIsRead) {
    for (const RealHello& real : real_hellos) {
        Octets bytes = from_base64(real.base64);
        ClientHello hello = parse(bytes);
        EXPECT_EQ(hello.status, real.server_name.empty() ? HelloStatus::no_server_name : HelloStatus::found);
        EXPECT_EQ(hello.server_name, real.server_name) << real.client;
        EXPECT_EQ(ja3(hello), real.ja3) << real.client;
        EXPECT_EQ(hello.ech, Ech::none) << real.client;
        EXPECT_EQ(hello.records, 1) << real.client;
        EXPECT_EQ(hello.bytes, bytes.size()) << real.client;
    }
}

TEST(ClientHello, OfAPostQuantumBrowserIsRead) {
    Octets bytes = stream(chromium_hello("WWW.Example.com."));
    ASSERT_GT(bytes.size(), 1700);
    ClientHello hello = parse(bytes);
    EXPECT_EQ(hello.status, HelloStatus::found);
    EXPECT_EQ(hello.server_name, "www.example.com");
    EXPECT_EQ(hello.alpn, (std::vector<std::string>{"h2", "http/1.1"}));
    EXPECT_EQ(hello.versions, (std::vector<std::uint16_t>{0x0304, 0x0303}));
    EXPECT_EQ(hello.ech, Ech::grease);
    EXPECT_EQ(hello.groups, (std::vector<std::uint16_t>{0x8a8a, 0x11ec, 0x001d, 0x0017, 0x0018}));
}

TEST(ClientHello, WithoutExtensionsHasNoServerNameAndItsLegacyVersion) {
    HelloParts parts;
    parts.extensions_absent = true;
    parts.legacy_version = 0x0301;
    ClientHello hello = parse(stream(parts));
    EXPECT_EQ(hello.status, HelloStatus::no_server_name);
    EXPECT_EQ(hello.versions, std::vector<std::uint16_t>{0x0301});
}

// --- where a hello may be cut
// ---------------------------------------------------------------------------------------

TEST(ClientHello, EveryPrefixIsIncomplete) {
    for (const auto& [client, bytes] : valid_hellos())
        expect_every_prefix_incomplete(bytes, client);
}

TEST(ClientHello, IsTheSameHoweverItIsCutIntoRecords) {
    for (const auto& [client, bytes] : valid_hellos()) {
        Octets handshake(bytes.begin() + 5, bytes.end());
        ClientHello expected = parse(bytes);
        for (std::size_t size = 1; size <= handshake.size(); ++size) {
            for (bool empty_between : {false, true}) {
                Octets cut = in_records(handshake, size, empty_between);
                ClientHello hello = parse(cut);
                ASSERT_EQ(hello.status, expected.status) << client << " in " << size << ": " << hello.why;
                ASSERT_EQ(hello.server_name, expected.server_name) << client;
                ASSERT_EQ(ja4(hello), ja4(expected)) << client;
                ASSERT_EQ(hello.bytes, cut.size()) << client;
                std::size_t records = (handshake.size() + size - 1) / size;
                ASSERT_EQ(hello.records, empty_between ? 2 * records : records) << client;
            }
        }
    }
}

TEST(ClientHello, EveryPrefixIsIncompleteAlsoInManyRecords) {
    Octets handshake = message(HelloParts{});
    for (std::size_t size : {1, 2, 3, 7, 100}) {
        expect_every_prefix_incomplete(in_records(handshake, size, false), std::to_string(size));
        expect_every_prefix_incomplete(in_records(handshake, size, true),
                                       std::to_string(size) + " with empty ones");
    }
}

// A caller that sleeps until `bytes_needed` wakes a few times for each record, not for each byte.
TEST(ClientHello, AsksForAsManyBytesAsItCanUse) {
    for (std::size_t record_bytes : {1 << 14, 600, 100}) {
        Octets whole = in_records(message(chromium_hello("www.example.com")), record_bytes);
        std::size_t asked = 0;
        ClientHello hello = parse({});
        for (; hello.status == HelloStatus::incomplete; ++asked) {
            ASSERT_LE(hello.bytes_needed, whole.size());
            hello = parse_client_hello(std::span(whole).first(hello.bytes_needed));
        }
        EXPECT_EQ(hello.status, HelloStatus::found);
        EXPECT_LE(asked, 3 + 2 * hello.records);
    }
}

TEST(ClientHello, MayBeFollowedByAnything) {
    Octets bytes = stream({});
    std::size_t size = bytes.size();
    append(bytes, record(Octets(100, 0x17), 23));  // early data
    ClientHello hello = parse(bytes);
    EXPECT_EQ(hello.status, HelloStatus::found);
    EXPECT_EQ(hello.bytes, size);
    EXPECT_EQ(hello.records, 1);
}

TEST(ClientHello, InMoreRecordsThanAnybodySendsIsMalformed) {
    Octets bytes;
    for (int i = 0; i < 5000; ++i)
        append(bytes, record({}));
    EXPECT_EQ(parse(bytes).status, HelloStatus::malformed);
    EXPECT_EQ(parse(bytes).why, "too many records");
}

// --- other protocols, and records that contradict a hello
// -----------------------------------------------------------

TEST(ClientHello, OtherProtocolsAreKnownByTheirFirstBytes) {
    for (std::string_view said :
         {"GET / HTTP/1.1\r\n"sv, "S"sv, "SSH-2.0-OpenSSH_9.2\r\n"sv, "\0"sv, "\x15\x03\x01"sv,
          "\x17\x03\x03"sv, "\x16\x02"sv, "\x16\xfe\xff"sv, "\x16\x16"sv}) {
        Octets bytes(said.begin(), said.end());
        EXPECT_EQ(parse(bytes).status, HelloStatus::not_tls) << said;
    }
    // An SSLv2-compatible hello (RFC 5246 E.2).
    EXPECT_EQ(parse({0x80, 0x2e, 0x01, 0x03, 0x01, 0x00, 0x15}).status, HelloStatus::not_tls);
}

TEST(ClientHello, RecordsThatContradictItAreMalformed) {
    EXPECT_EQ(parse({22, 3, 1, 0x40, 0x01}).why, "record too long");
    EXPECT_EQ(parse(record({2, 0, 0, 4, 1, 2, 3, 4})).why, "handshake message is not a ClientHello");
    Octets handshake = message({});
    Octets half = record(Octets(handshake.begin(), handshake.begin() + 40));
    for (std::uint8_t type : Octets{20, 21, 23, 0}) {
        Octets bytes = half;
        bytes.push_back(type);
        EXPECT_EQ(parse(bytes).why, "another record type inside the hello") << int{type};
    }
    Octets other_version = half;
    append(other_version, Octets{22, 2});
    EXPECT_EQ(parse(other_version).why, "record version is not TLS");
    handshake.push_back(0);
    EXPECT_EQ(parse(record(handshake)).why, "record goes on after the hello");
}

// --- lengths that lie
// -----------------------------------------------------------------------------------------------

// The places of all length fields in stream(chromium_hello(name)), with their widths.
std::vector<std::pair<std::size_t, int>> length_fields(const Octets& bytes) {
    std::vector<std::pair<std::size_t, int>> fields = {{3, 2}, {6, 3}, {43, 1}};
    std::size_t at = 44 + bytes[43];
    auto u16 = [&bytes](std::size_t i) { return static_cast<std::size_t>(bytes[i] << 8 | bytes[i + 1]); };
    fields.emplace_back(at, 2);
    at += 2 + u16(at);
    fields.emplace_back(at, 1);
    at += 1u + bytes[at];
    fields.emplace_back(at, 2);
    for (at += 2; at < bytes.size(); at += 4 + u16(at + 2)) {
        std::size_t type = u16(at);
        std::size_t data = at + 4;
        fields.emplace_back(at + 2, 2);
        if (type == 43 || type == 11) fields.emplace_back(data, 1);
        if (type == 0 || type == 10 || type == 13 || type == 16) fields.emplace_back(data, 2);
        if (type == 0) fields.emplace_back(data + 3, 2);
        if (type == 16) fields.insert(fields.end(), {{data + 2, 1}, {data + 5, 1}});
        if (type == 0xfe0d) fields.insert(fields.end(), {{data + 6, 2}, {data + 40, 2}});
    }
    return fields;
}

TEST(ClientHello, WhoseLengthFieldsLieIsNeverRead) {
    Octets whole = stream(chromium_hello("www.example.com"));
    auto fields = length_fields(whole);
    ASSERT_EQ(fields.size(), 6 + 18 + 11);
    for (auto [at, width] : fields) {
        std::size_t value = 0;
        for (int i = 0; i < width; ++i)
            value = value << 8 | whole[at + static_cast<std::size_t>(i)];
        // Lies that only shift where opaque extensions begin can read as another hello, without a
        // contradiction; these do not.
        for (std::size_t lie : {value + 1, value - 1, value / 2 + 200, std::size_t{0xffffff}}) {
            Octets bytes = whole;
            Octets field = number(lie, width);
            if (std::equal(field.begin(), field.end(), whole.begin() + static_cast<std::ptrdiff_t>(at)))
                continue;
            std::ranges::copy(field, bytes.begin() + static_cast<std::ptrdiff_t>(at));
            ClientHello hello = parse(bytes);
            EXPECT_TRUE(hello.status == HelloStatus::malformed || hello.status == HelloStatus::incomplete)
                << "at " << at << ": " << lie << " for " << value << " gives " << to_string(hello.status);
            EXPECT_EQ(hello.server_name, "");
        }
    }
}

TEST(ClientHello, WithBytesAfterItsExtensionsIsMalformed) {
    HelloParts parts;
    parts.after_extensions = {0};
    EXPECT_EQ(parse(stream(parts)).why, "bytes after the extensions");
}

TEST(ClientHello, WithAnyExtensionTwiceIsMalformed) {
    for (std::uint16_t type : std::vector<std::uint16_t>{0, 16, 21, 43, 0x0a0a, 0xabcd}) {
        HelloParts parts = chromium_hello("www.example.com");
        std::erase_if(parts.extensions, [type](const auto& extension) { return extension.first == type; });
        Octets data = type == 0 ? server_name("a.example") : type == 16 ? alpn({"h2"}) : Octets{2, 3, 4};
        parts.extensions.emplace_back(type, data);
        EXPECT_EQ(parse(stream(parts)).why, "") << type;
        parts.extensions.emplace_back(type, data);
        EXPECT_EQ(parse(stream(parts)).why, "an extension occurs twice") << type;
    }
}

TEST(ClientHello, WithAnotherVersionOrALongSessionIdIsMalformed) {
    HelloParts parts;
    parts.legacy_version = 0x0200;
    EXPECT_EQ(parse(stream(parts)).why, "client version is not TLS");
    parts = {};
    parts.session_id = Octets(33, 1);
    EXPECT_EQ(parse(stream(parts)).why, "session id too long");
}

TEST(ClientHello, ThatEndsTooEarlyIsMalformed) {
    Octets body = message(HelloParts{.extensions_absent = true});
    body.erase(body.begin(), body.begin() + 4);
    for (std::size_t size = 0; size < body.size(); ++size) {
        Octets handshake{1};
        append(handshake, sized(3, Octets(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(size))));
        EXPECT_EQ(parse(record(handshake)).status, HelloStatus::malformed) << size;
    }
}

// --- server name and ALPN
// -------------------------------------------------------------------------------------------

TEST(ClientHello, WithAnAddressForANameReportsItAsSentAndAsNoName) {
    for (std::string_view sent : {"192.0.2.1"sv, "2001:DB8::1"sv, "[2001:db8::1]"sv}) {
        ClientHello hello = parse_with(0, server_name(sent));
        EXPECT_EQ(hello.status, HelloStatus::no_server_name) << sent;
        EXPECT_TRUE(hello.server_name_is_address) << sent;
        EXPECT_EQ(hello.server_name, sent);
    }
}

TEST(ClientHello, WithAnythingButOneServerNameIsMalformed) {
    Octets two{0};
    append(two, sized(2, "allowed.example"sv));
    append(two, Octets{0});
    append(two, sized(2, "denied.example"sv));
    EXPECT_EQ(parse_with(0, sized(2, two)).why, "more than one server name");
    EXPECT_EQ(parse_with(0, server_name("a.example", 1)).why, "server_name of an unknown type");
    EXPECT_EQ(parse_with(0, {}).why, "server_name lengths");
    EXPECT_EQ(parse_with(0, {0, 0}).why, "server_name lengths");
    Octets more = server_name("a.example");
    more.push_back(0);
    EXPECT_EQ(parse_with(0, more).why, "server_name lengths");
}

TEST(ClientHello, WithANameThatNoHostHasIsMalformed) {
    for (std::string_view sent :
         {""sv, "."sv, "a..b"sv, "allowed.example\0.denied.example"sv, "a b"sv, "*.example"sv}) {
        ClientHello hello = parse_with(0, server_name(sent));
        EXPECT_EQ(hello.status, HelloStatus::malformed) << sent;
        EXPECT_EQ(hello.server_name, "");
    }
}

TEST(ClientHello, AlpnMayHoldAnyByteButNoEmptyName) {
    EXPECT_EQ(parse_with(16, alpn({std::string("\0\xff\n", 3)})).alpn[0], std::string("\0\xff\n", 3));
    EXPECT_EQ(parse_with(16, alpn({"h2", ""})).why, "empty ALPN protocol name");
    EXPECT_EQ(parse_with(16, alpn({})).why, "ALPN lengths");
}

TEST(ClientHello, CannotMultiplyItsSizeByThousandsOfAlpnNames) {
    EXPECT_EQ(parse_with(16, alpn(std::vector<std::string>(64, "x"))).alpn.size(), 64);
    EXPECT_EQ(parse_with(16, alpn(std::vector<std::string>(7000, "x"))).why, "too many ALPN protocol names");
}

// A list that is empty where the grammar asks for one entry reads one way only; the server may refuse it.
TEST(ClientHello, WithEmptyListsIsRead) {
    HelloParts parts;
    parts.cipher_suites = {};
    parts.compression = {};
    append(parts.session_id = {}, Octets{});
    parts.extensions.insert(parts.extensions.end(), {{10, {0, 0}}, {11, {0}}, {13, {0, 0}}, {43, {0}}});
    EXPECT_EQ(parse(stream(parts)).status, HelloStatus::found);
}

// --- ECH
// ------------------------------------------------------------------------------------------------------------

TEST(ClientHello, WithEchIsOuterOnlyUnderAKnownPublicName) {
    EXPECT_EQ(parse(stream(chromium_hello("www.example.com"))).ech, Ech::grease);
    EXPECT_EQ(parse(stream(chromium_hello("cloudflare-ech.com"))).ech, Ech::outer);
    EXPECT_EQ(parse(stream(chromium_hello("Cloudflare-ECH.com."))).ech, Ech::outer);
    HelloParts parts;
    parts.extensions = {{0, server_name("cloudflare-ech.com")}};
    EXPECT_EQ(parse(stream(parts)).ech, Ech::none);
    EXPECT_EQ(parse_with(0xfe0d, outer_ech(144)).ech, Ech::grease);
}

TEST(ClientHello, WithTheInnerFormOfEchHidesNothing) {
    ClientHello hello = parse_with(0xfe0d, {1});
    EXPECT_EQ(hello.status, HelloStatus::no_server_name);
    EXPECT_EQ(hello.ech, Ech::none);
}

TEST(ClientHello, WithEchThatContradictsItselfIsMalformed) {
    Octets cut = outer_ech(144);
    cut.pop_back();
    for (const Octets& data : {Octets{}, Octets{2}, Octets{1, 0}, outer_ech(0), cut}) {
        EXPECT_EQ(parse_with(0xfe0d, data).status, HelloStatus::malformed);
    }
}

// --- the hello after a HelloRetryRequest
// ----------------------------------------------------------------------------

TEST(SecondClientHello, ComesAfterChangeCipherSpecAndRefusedEarlyData) {
    Octets hello_bytes = stream(chromium_hello("www.example.com"));
    for (bool early_data : {false, true}) {
        Octets bytes = record({1}, 20);
        if (early_data) append(bytes, record(Octets(300, 0xcc), 23));
        append(bytes, hello_bytes);
        EXPECT_EQ(parse(bytes).status, HelloStatus::not_tls);
        ClientHello hello = parse_second_client_hello(bytes);
        EXPECT_EQ(hello.server_name, "www.example.com");
        EXPECT_EQ(hello.bytes, bytes.size());
        EXPECT_EQ(hello.records, 1);
        for (std::size_t size = 0; size < bytes.size(); ++size) {
            ClientHello prefix = parse_second_client_hello(std::span(bytes).first(size));
            ASSERT_EQ(prefix.status, HelloStatus::incomplete) << size;
            ASSERT_GT(prefix.bytes_needed, size);
            ASSERT_LE(prefix.bytes_needed, bytes.size());
        }
    }
    EXPECT_EQ(parse_second_client_hello(hello_bytes).status, HelloStatus::found);
}

TEST(SecondClientHello, InsteadOfWhichTheClientGivesUpIsNoHello) {
    EXPECT_EQ(parse_second_client_hello(record({2, 40}, 21)).status, HelloStatus::not_tls);
}

TEST(SecondClientHello, BehindEndlessEarlyDataIsMalformed) {
    Octets bytes;
    for (int i = 0; i < 5000; ++i)
        append(bytes, record({}, 23));
    EXPECT_EQ(parse_second_client_hello(bytes).status, HelloStatus::malformed);
}

}  // namespace
}  // namespace sluice::tls
