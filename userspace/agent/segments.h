#pragma once
#include <cstdint>

namespace sluice::agent {

// Segments that a TCP socket has received, retransmissions and bare ACKs included (tcpi_segs_in); 0 on error.
std::uint64_t segments_received(int fd);

}  // namespace sluice::agent
