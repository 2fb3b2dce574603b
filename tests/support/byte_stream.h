#pragma once
// Endless bytes that nobody can compress, predict by position alone or repeat by mistake, and their SHA-256:
// the proof that a stream arrived whole and in order.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tests/support/tcp_socket.h"

struct evp_md_ctx_st;

namespace sluice::test {

class Sha256 {
  public:
    Sha256();
    ~Sha256();
    Sha256(const Sha256&) = delete;
    Sha256& operator=(const Sha256&) = delete;

    void add(std::string_view bytes);
    std::string hex();  // of all added; ends its life

  private:
    evp_md_ctx_st* context_;
};

std::string sha256(std::string_view bytes);

// Deterministic by `seed` (splitmix64).
class ByteStream {
  public:
    explicit ByteStream(std::uint64_t seed) : state_(seed) {}
    std::string next(std::size_t bytes);  // a multiple of 8 unless it is the last call

  private:
    std::uint64_t state_;
};

struct StreamSum {
    std::uint64_t bytes = 0;
    std::string sha256;
    StreamEnd end = StreamEnd::silence;

    friend bool operator==(const StreamSum&, const StreamSum&) = default;
};

// Sends `bytes` bytes of the stream `seed`, then FIN; the sum says eof, as a faithful receiver's must.
StreamSum send_stream(TcpSocket& socket, std::uint64_t seed, std::uint64_t bytes);
// Reads to the end. A slow reader takes `bytes_per_read` at a time and calls `between` after each.
StreamSum receive_stream(TcpSocket& socket, std::size_t bytes_per_read = 262'144,
                         void (*between)() = nullptr);

}  // namespace sluice::test
