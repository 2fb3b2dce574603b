#include "userspace/tls/server_hello.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sluice::tls {
namespace {

using Bytes = std::vector<std::uint8_t>;

// RFC 8446 4.1.3.
const Bytes retry_random = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
                            0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
                            0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};

Bytes server_hello(const Bytes& random) {
    Bytes message = {2, 0, 0, 40, 3, 3};
    message.insert(message.end(), random.begin(), random.end());
    message.insert(message.end(), {0, 0x13, 0x01, 0, 0, 0});
    return message;
}

// The message in records of `size` bytes.
Bytes in_records(const Bytes& message, std::size_t size) {
    Bytes stream;
    for (std::size_t at = 0; at < message.size(); at += size) {
        const std::size_t length = std::min(size, message.size() - at);
        stream.insert(stream.end(), {22, 3, 3, 0, static_cast<std::uint8_t>(length)});
        stream.insert(stream.end(), message.begin() + static_cast<std::ptrdiff_t>(at),
                      message.begin() + static_cast<std::ptrdiff_t>(at + length));
    }
    return stream;
}

TEST(ServerHello, ARetryIsToldByItsRandomInRecordsOfAnySize) {
    const Bytes message = server_hello(retry_random);
    for (std::size_t size = 1; size <= message.size(); ++size) {
        EXPECT_EQ(parse_server_hello(in_records(message, size)).answer, ServerAnswer::hello_retry_request)
            << size;
    }
}

TEST(ServerHello, EveryPrefixThatCanBecomeARetryIsIncompleteAndAsksForMore) {
    for (const std::size_t size : {1u, 7u, 44u}) {
        const Bytes stream = in_records(server_hello(retry_random), size);
        for (std::size_t length = 0; length < stream.size(); ++length) {
            const ServerHello seen = parse_server_hello(std::span(stream).first(length));
            ASSERT_EQ(seen.answer, ServerAnswer::incomplete) << length;
            ASSERT_GT(seen.bytes_needed, length);
            ASSERT_LE(seen.bytes_needed, stream.size());
        }
    }
}

TEST(ServerHello, WhatIsNoRetryIsToldAtOnce) {
    Bytes random = retry_random;
    random.back() ^= 1;
    EXPECT_EQ(parse_server_hello(in_records(server_hello(random), 44)).answer, ServerAnswer::other);
    random.front() ^= 1;
    EXPECT_EQ(
        parse_server_hello(std::span<const std::uint8_t>(in_records(server_hello(random), 44)).first(12))
            .answer,
        ServerAnswer::other);
    const Bytes alert = {21, 3, 3, 0, 2, 2, 40};
    EXPECT_EQ(parse_server_hello(alert).answer, ServerAnswer::other);
    const std::string banner = "SSH-2.0-x\r\n";
    EXPECT_EQ(parse_server_hello(Bytes(banner.begin(), banner.end())).answer, ServerAnswer::other);
}

TEST(ServerHello, ARetryEndsWhereItsMessageDoes) {
    Bytes stream = in_records(server_hello(retry_random), 10);
    const std::size_t end = stream.size();
    stream.insert(stream.end(), {20, 3, 3, 0, 1, 1});  // change_cipher_spec
    EXPECT_EQ(parse_server_hello(stream).bytes, end);
}

TEST(ServerHello, EmptyRecordsAreSkipped) {
    Bytes stream = {22, 3, 3, 0, 0};
    const Bytes rest = in_records(server_hello(retry_random), 44);
    stream.insert(stream.end(), rest.begin(), rest.end());
    EXPECT_EQ(parse_server_hello(stream).answer, ServerAnswer::hello_retry_request);
}

const Bytes warning = {21, 3, 3, 0, 2, 1, 112};  // RFC 8446 6: unrecognized_name
const Bytes change_cipher_spec = {20, 3, 3, 0, 1, 1};

Bytes joined(const std::vector<Bytes>& parts) {
    Bytes all;
    for (const Bytes& part : parts)
        all.insert(all.end(), part.begin(), part.end());
    return all;
}

TEST(ServerHello, AWarningOrAChangeCipherSpecAnswersNothing) {
    const Bytes piece = {21, 3, 3, 0, 1, 1};
    const Bytes before = joined({warning, change_cipher_spec, piece, piece});
    const Bytes stream = joined({before, in_records(server_hello(retry_random), 44)});
    const ServerHello seen = parse_server_hello(stream);
    EXPECT_EQ(seen.answer, ServerAnswer::hello_retry_request);
    EXPECT_EQ(seen.bytes, stream.size());
    for (std::size_t length = 0; length < stream.size(); ++length) {
        const ServerHello part = parse_server_hello(std::span(stream).first(length));
        ASSERT_EQ(part.answer, ServerAnswer::incomplete) << length;
        ASSERT_GT(part.bytes_needed, length);
        ASSERT_LE(part.bytes_needed, stream.size());
    }
    Bytes random = retry_random;
    random.back() ^= 1;
    EXPECT_EQ(parse_server_hello(joined({before, in_records(server_hello(random), 44)})).answer,
              ServerAnswer::other);
    EXPECT_EQ(parse_server_hello(joined({before, {21, 3, 3, 0, 2, 2, 40}})).answer, ServerAnswer::other);
}

TEST(ServerHello, WarningsWithoutEndOrOfAnotherLengthMayHideARetry) {
    const std::vector<Bytes> many(18, warning);
    EXPECT_EQ(parse_server_hello(joined(many)).answer, ServerAnswer::incomplete);
    EXPECT_EQ(parse_server_hello(joined({joined(many), warning})).answer, ServerAnswer::hello_retry_request);
    for (const Bytes& strange :
         {Bytes{21, 3, 3, 0, 0}, Bytes{21, 3, 3, 0, 4, 1, 0, 1, 0}, Bytes{20, 3, 3, 1, 1}})
        EXPECT_EQ(parse_server_hello(strange).answer, ServerAnswer::hello_retry_request);
}

}  // namespace
}  // namespace sluice::tls
