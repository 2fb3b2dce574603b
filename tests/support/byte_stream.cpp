#include "tests/support/byte_stream.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>

namespace sluice::test {

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
    EVP_DigestInit_ex(context_, EVP_sha256(), nullptr);
}

Sha256::~Sha256() {
    EVP_MD_CTX_free(context_);
}

void Sha256::add(std::string_view bytes) {
    EVP_DigestUpdate(context_, bytes.data(), bytes.size());
}

std::string Sha256::hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_, digest, &size);
    std::string text;
    for (unsigned int index = 0; index < size; ++index) {
        text += "0123456789abcdef"[digest[index] >> 4];
        text += "0123456789abcdef"[digest[index] & 15];
    }
    return text;
}

std::string sha256(std::string_view bytes) {
    Sha256 sum;
    sum.add(bytes);
    return sum.hex();
}

std::string ByteStream::next(std::size_t bytes) {
    std::string result(bytes, '\0');
    for (std::size_t offset = 0; offset < bytes; offset += 8) {
        std::uint64_t word = (state_ += 0x9e3779b97f4a7c15);
        word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9;
        word = (word ^ (word >> 27)) * 0x94d049bb133111eb;
        word ^= word >> 31;
        std::memcpy(result.data() + offset, &word, std::min<std::size_t>(8, bytes - offset));
    }
    return result;
}

StreamSum send_stream(TcpSocket& socket, std::uint64_t seed, std::uint64_t bytes) {
    ByteStream stream(seed);
    Sha256 sum;
    for (std::uint64_t left = bytes; left > 0;) {
        const std::string block =
            stream.next(static_cast<std::size_t>(std::min<std::uint64_t>(left, 262'144)));
        sum.add(block);
        socket.send(block);
        left -= block.size();
    }
    socket.shutdown_write();
    return {bytes, sum.hex(), StreamEnd::eof};
}

StreamSum receive_stream(TcpSocket& socket, std::size_t bytes_per_read, void (*between)()) {
    StreamSum result;
    Sha256 sum;
    for (;;) {
        const std::string block = socket.receive_some(bytes_per_read, result.end);
        if (block.empty()) break;
        sum.add(block);
        result.bytes += block.size();
        if (between != nullptr) between();
    }
    result.sha256 = sum.hex();
    return result;
}

}  // namespace sluice::test
