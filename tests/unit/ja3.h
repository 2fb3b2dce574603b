#pragma once
// JA3 of a parsed hello: MD5 over version, cipher suites, extensions, groups and point formats, GREASE left
// out. The product does not print it; other tools do, so it shows that we read the same fields from the same
// bytes.
#include <openssl/evp.h>

#include <array>
#include <string>

#include "userspace/tls/client_hello.h"

namespace sluice::test {

inline std::string dashed(const auto& values) {
    std::string out;
    for (std::uint16_t value : values) {
        if (tls::is_grease(value)) continue;
        if (!out.empty()) out += '-';
        out += std::to_string(value);
    }
    return out;
}

inline std::string ja3(const tls::ClientHello& hello) {
    std::string text = std::to_string(hello.legacy_version) + ',' + dashed(hello.cipher_suites) + ',' +
                       dashed(hello.extensions) + ',' + dashed(hello.groups) + ',' +
                       dashed(hello.point_formats);
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_md5(), nullptr);
    std::string out;
    for (unsigned i = 0; i < size; ++i) {
        out += "0123456789abcdef"[digest[i] >> 4];
        out += "0123456789abcdef"[digest[i] & 15];
    }
    return out;
}

}  // namespace sluice::test
