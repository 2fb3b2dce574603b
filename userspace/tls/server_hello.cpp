#include "userspace/tls/server_hello.h"

#include <algorithm>
#include <array>

namespace sluice::tls {
namespace {

constexpr std::size_t record_header_bytes = 5;
constexpr std::uint8_t handshake_record = 22;
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
};

bool can_be_retry(const Start& start) {
    if (start.size > 0 && start.bytes[0] != server_hello_message) return false;
    const std::size_t known = start.size > random_offset ? start.size - random_offset : 0;
    return std::equal(retry_random.begin(), retry_random.begin() + static_cast<std::ptrdiff_t>(known),
                      start.bytes.begin() + random_offset);
}

}  // namespace

ServerHello parse_server_hello(std::span<const std::uint8_t> stream) {
    constexpr ServerHello other{.answer = ServerAnswer::other};
    Start start;
    std::size_t position = 0;
    while (start.size < wanted_bytes) {
        const auto rest = stream.subspan(position);
        if (!rest.empty() && rest[0] != handshake_record) return other;
        if (rest.size() < record_header_bytes) {
            return {.bytes_needed = position + record_header_bytes};
        }
        const std::size_t length = static_cast<std::size_t>(rest[3]) << 8 | rest[4];
        const std::size_t wanted = std::min(length, wanted_bytes - start.size);
        const auto fragment = rest.subspan(record_header_bytes);
        const std::size_t taken = std::min(wanted, fragment.size());
        std::copy_n(fragment.begin(), taken, start.bytes.begin() + static_cast<std::ptrdiff_t>(start.size));
        start.size += taken;
        if (!can_be_retry(start)) return other;
        if (taken < wanted) return {.bytes_needed = position + record_header_bytes + wanted};
        position += record_header_bytes + length;
        if (start.size < wanted_bytes && position > stream.size()) return {.bytes_needed = position};
    }
    return {.answer = ServerAnswer::hello_retry_request};
}

}  // namespace sluice::tls
