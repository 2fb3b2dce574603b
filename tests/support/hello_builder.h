#pragma once
// ClientHellos made by hand: any size, cut into any records, well-formed or not. Real clients are driven
// elsewhere; this is for the ones that nobody ships. Layout: RFC 8446 4.1.2 and 5.1, server_name RFC 6066 3,
// padding RFC 7685.
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/tcp_socket.h"

namespace sluice::test {

struct HelloShape {
    std::optional<std::string> server_name = "allowed.example";  // empty optional: no such extension
    // Length of the whole stream of records, reached by padding; 0: no padding. At most 131,000 in all.
    std::size_t bytes = 0;
    // Payload of each record in turn, 0 allowed; the rest goes into records of 16,384. Empty: as few as
    // possible.
    std::vector<std::size_t> records = {};
};

// The stream of bytes that a client with this hello sends first.
std::string build_hello(const HelloShape& shape = {});

// Sends `bytes` in segments of `segment_bytes`, each acknowledged by the peer's kernel before the next one
// leaves, so that they cannot be merged on the way.
void send_in_segments(TcpSocket& socket, std::string_view bytes, std::size_t segment_bytes);

}  // namespace sluice::test
