#pragma once
// The one handshake message at the start of a TLS client's stream, taken out of the records that carry it
// (RFC 8446 5.1). A message may be cut into records anywhere, also inside its own header. Pure.
#include <cstdint>
#include <string_view>
#include <vector>

#include "userspace/tls/byte_reader.h"
#include "userspace/tls/client_hello.h"

namespace sluice::tls {

// Records, empty ones included, that one hello may take. Senders need one to three; a post-quantum hello of 2
// KB in one-byte records with an empty record between each of them still passes. Whoever sends more is
// spending our time: every further segment makes us walk all headers again.
inline constexpr std::size_t hello_records_max = 4096;

// The longest TLSPlaintext fragment (RFC 8446 5.1), and the longest encrypted one (RFC 8446 5.2).
inline constexpr std::size_t record_bytes_max = 1 << 14;
inline constexpr std::size_t encrypted_record_bytes_max = record_bytes_max + 256;

struct HelloRecords {
    HelloStatus status = HelloStatus::incomplete;  // `found`: the message is whole
    std::size_t records = 0;                       // as in ClientHello, like the three below
    std::size_t bytes = 0;
    std::size_t bytes_needed = 0;
    std::string_view why;
    Bytes body;  // with `found`: the ClientHello without its four bytes of handshake header
};

enum class Turn : std::uint8_t { first_hello, second_hello };

// `body` points into `stream`, or into `joined` when the message spans several records.
HelloRecords read_hello_records(Bytes stream, Turn turn, std::vector<std::uint8_t>& joined);

}  // namespace sluice::tls
