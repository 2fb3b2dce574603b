#include "userspace/agent/first_bytes.h"

#include <gtest/gtest.h>

#include <string_view>

namespace sluice::agent {
namespace {

using policy::Protocol;

std::optional<Protocol> classify(std::string_view text) {
    return classify_first_bytes({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

TEST(FirstBytes, TellsTheProtocolByItsFirstWord) {
    EXPECT_EQ(classify("\x16\x03\x01\x02"), Protocol::tls);
    EXPECT_EQ(classify("SSH-2.0-OpenSSH_9.2p1\r\n"), Protocol::ssh);
    EXPECT_EQ(classify("GET / HTTP/1.1\r\n"), Protocol::http);
    EXPECT_EQ(classify("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Protocol::http);
    EXPECT_EQ(classify("\x13garbage"), Protocol::other);
    EXPECT_EQ(classify("EHLO me\r\n"), Protocol::smtp);
}

TEST(FirstBytes, EveryPrefixOfASignatureIsUndecided) {
    for (const std::string_view opening : {"SSH-", "GET ", "POST ", "OPTIONS ", "PRI * HTTP/2.0"}) {
        for (std::size_t length = 1; length < opening.size(); ++length) {
            EXPECT_EQ(classify(opening.substr(0, length)), std::nullopt) << opening.substr(0, length);
        }
        EXPECT_TRUE(classify(opening).has_value()) << opening;
    }
}

TEST(FirstBytes, AMethodWithoutItsSpaceIsNotHttp) {
    EXPECT_EQ(classify("GETAWAY"), Protocol::other);
    EXPECT_EQ(classify("get / HTTP/1.1"), Protocol::other);
}

TEST(FirstBytes, TheFirstByteOfAHandshakeIsEnoughToWaitForAHello) {
    EXPECT_EQ(classify("\x16"), Protocol::tls);
}

TEST(FirstBytes, AnotherTlsRecordBeforeTheHandshakeIsMalformed) {
    EXPECT_EQ(classify("\x14\x03\x01"), Protocol::malformed);
    EXPECT_EQ(classify("\x15\x03\x01"), Protocol::malformed);
    EXPECT_EQ(classify("\x17\x03\x03"), Protocol::malformed);
    EXPECT_EQ(classify("\x14\x02"), Protocol::other);
    EXPECT_EQ(classify("\x80\x2e\x01\x03\x01"), Protocol::other);
}

TEST(FirstBytes, AnSshVersionIsTheWholeFirstLine) {
    auto version = [](std::string_view text) {
        return read_ssh_version({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
    };
    EXPECT_EQ(version("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\nmore"), "2.0-OpenSSH_9.2p1 Debian-2");
    EXPECT_EQ(version("SSH-1.99-old\n"), "1.99-old");
    EXPECT_EQ(version("SSH-2.0-OpenSSH_9.2p1\r"), std::nullopt);
    EXPECT_EQ(version("SSH-"), std::nullopt);
    EXPECT_EQ(version("SSH-" + std::string(300, 'x')), std::string(251, 'x'));
}

}  // namespace
}  // namespace sluice::agent
