#include "tests/support/hello_builder.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <stdexcept>

namespace sluice::test {

namespace {

constexpr std::size_t record_bytes_max = 16'384;
constexpr std::size_t extension_bytes_max = 60'000;  // below the 16-bit length, with room for the others

std::string number(std::size_t value, int bytes) {
    std::string text;
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
        text += static_cast<char>(value >> shift & 0xff);
    return text;
}

std::string with_length(const std::string& text, int length_bytes) {
    return number(text.size(), length_bytes) + text;
}

std::string extension(std::size_t type, const std::string& body) {
    return number(type, 2) + with_length(body, 2);
}

// A hello whose body holds `cipher_bytes` of unknown cipher suites and a padding extension of `padding`
// bytes.
std::string handshake(const HelloShape& shape, std::size_t cipher_bytes, std::optional<std::size_t> padding) {
    std::string suites = "\x13\x01\x13\x02\xc0\x2b";
    while (suites.size() < cipher_bytes)
        suites += number(0xff00 + suites.size() / 2 % 200, 2);
    std::string extensions;
    if (shape.server_name) {
        extensions += extension(0, with_length('\0' + with_length(*shape.server_name, 2), 2));
    }
    extensions += extension(10, with_length(std::string("\x00\x1d", 2), 2));  // x25519
    extensions += extension(13, with_length(std::string("\x04\x03\x08\x04", 4), 2));
    extensions += extension(16, with_length(with_length("http/1.1", 1), 2));
    extensions += extension(43, with_length(std::string("\x03\x04", 2), 1));  // TLS 1.3
    extensions +=
        extension(51, with_length(std::string("\x00\x1d", 2) + with_length(std::string(32, 'k'), 2), 2));
    if (padding) extensions += extension(21, std::string(*padding, '\0'));
    const std::string body = std::string("\x03\x03", 2) + std::string(32, 'r') +
                             with_length(std::string(32, 's'), 1) + with_length(suites, 2) +
                             std::string("\x01\x00", 2) + with_length(extensions, 2);
    return '\x01' + with_length(body, 3);
}

std::string in_records(const std::string& message, const std::vector<std::size_t>& records) {
    std::string stream;
    std::size_t offset = 0;
    auto add = [&](std::size_t bytes) {
        const std::string payload = message.substr(offset, bytes);
        stream += "\x16\x03\x01" + with_length(payload, 2);
        offset += payload.size();
    };
    for (const std::size_t bytes : records)
        add(bytes);
    while (offset < message.size())
        add(record_bytes_max);
    return stream;
}

}  // namespace

std::string build_hello(const HelloShape& shape) {
    std::string stream = in_records(handshake(shape, 0, std::nullopt), shape.records);
    // Each round corrects for the record headers that the padding of the round before brought with it.
    std::size_t extra = 0;
    for (int round = 0; shape.bytes != 0 && stream.size() != shape.bytes; ++round) {
        if (round > 5 || (round == 0 && stream.size() + 4 > shape.bytes)) {
            throw std::invalid_argument("no hello of " + std::to_string(shape.bytes) + " bytes");
        }
        extra = extra + shape.bytes - stream.size() -
                (round == 0 ? 4 : 0);  // 4: the padding extension's own header
        const std::size_t in_suites =
            extra > extension_bytes_max ? (extra - extension_bytes_max + 1) & ~1ul : 0;
        const std::size_t suites = in_suites == 0 ? 0 : in_suites + 6;
        stream = in_records(handshake(shape, suites, extra - in_suites), shape.records);
    }
    return stream;
}

void send_in_segments(TcpSocket& socket, std::string_view bytes, std::size_t segment_bytes) {
    socket.no_delay();
    for (std::size_t offset = 0; offset < bytes.size(); offset += segment_bytes) {
        socket.send(bytes.substr(offset, segment_bytes));
        const bool left = wait_until([&] {
            int unsent = 0;
            return ::ioctl(socket.descriptor(), SIOCOUTQNSD, &unsent) == 0 && unsent == 0;
        });
        if (!left) throw std::runtime_error("a segment could not leave");
    }
}

}  // namespace sluice::test
