#include "userspace/tls/server_hello.h"

#include <algorithm>
#include <array>

namespace sluice::tls {
namespace {

constexpr std::size_t record_header_bytes = 5;
constexpr std::uint8_t change_cipher_spec_record = 20;
constexpr std::uint8_t alert_record = 21;
constexpr std::uint8_t handshake_record = 22;
constexpr std::uint8_t warning = 1;
constexpr std::size_t aside_bytes_max = 127;  // of all; bpf/packet_watch.h has the same
constexpr std::uint8_t server_hello_message = 2;
constexpr std::size_t random_offset = 6;  // after msg_type, length and legacy_version
constexpr std::array<std::uint8_t, 32> retry_random = {
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};
constexpr std::size_t wanted_bytes = random_offset + retry_random.size();

// The start of the first handshake message, put together from its records.
struct Start {
    std::array<std::uint8_t, wanted_bytes> bytes{};
    std::size_t size = 0;

    void add(std::span<const std::uint8_t> fragment) {
        const std::size_t taken = std::min(wanted_bytes - size, fragment.size());
        std::copy_n(fragment.begin(), taken, bytes.begin() + static_cast<std::ptrdiff_t>(size));
        size += taken;
    }

    bool can_be_retry() const {
        if (size > 0 && bytes[0] != server_hello_message) return false;
        const std::size_t known = size > random_offset ? size - random_offset : 0;
        return std::equal(retry_random.begin(), retry_random.begin() + static_cast<std::ptrdiff_t>(known),
                          bytes.begin() + random_offset);
    }

    // Its header included; known once `size` is at least 4.
    std::size_t message_bytes() const {
        return 4 + (static_cast<std::size_t>(bytes[1]) << 16 | static_cast<std::size_t>(bytes[2]) << 8 |
                    bytes[3]);
    }
};

// What answers nothing, if it is a warning.
bool is_aside(std::uint8_t record_type) {
    return record_type == alert_record || record_type == change_cipher_spec_record;
}

}  // namespace

ServerHello parse_server_hello(std::span<const std::uint8_t> stream) {
    constexpr ServerHello other{.answer = ServerAnswer::other};
    Start start;
    std::size_t position = 0;
    std::size_t message_left = wanted_bytes;  // until the message's own length is known
    std::size_t message_seen = 0;
    std::size_t aside_bytes = 0;
    while (message_left > 0) {
        const auto rest = stream.subspan(position);
        const bool aside = !rest.empty() && is_aside(rest[0]);
        if (!rest.empty() && rest[0] != handshake_record && !aside) return other;
        if (rest.size() < record_header_bytes) return {.bytes_needed = position + record_header_bytes};
        const std::size_t length = static_cast<std::size_t>(rest[3]) << 8 | rest[4];
        const auto fragment =
            rest.subspan(record_header_bytes, std::min(length, rest.size() - record_header_bytes));
        if (aside) {
            aside_bytes += record_header_bytes + length;
            // An alert is two bytes, or two records of one each. Whoever makes other ones, or warns without
            // end, has something else in mind.
            if (length < 1 || length > 2 || aside_bytes > aside_bytes_max)
                return {.answer = ServerAnswer::hello_retry_request, .bytes = position};
            if (length == 2 && !fragment.empty() && fragment[0] != warning) return other;
        } else {
            start.add(fragment);
            message_seen += length;
        }
        if (!start.can_be_retry()) return other;
        if (fragment.size() < length) return {.bytes_needed = position + record_header_bytes + length};
        position += record_header_bytes + length;
        if (start.size == wanted_bytes)
            message_left = start.message_bytes() - std::min(start.message_bytes(), message_seen);
    }
    return {.answer = ServerAnswer::hello_retry_request, .bytes = position};
}

}  // namespace sluice::tls
