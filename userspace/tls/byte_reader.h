#pragma once
// Takes numbers and length-prefixed vectors (RFC 8446 3) off the front of some bytes. A read that the bytes
// cannot serve returns false and takes nothing.
#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::tls {

using Bytes = std::span<const std::uint8_t>;

class ByteReader {
  public:
    explicit ByteReader(Bytes bytes) : left_(bytes) {}

    bool empty() const { return left_.empty(); }

    bool take(std::size_t size, Bytes& out) {
        if (left_.size() < size) return false;
        out = left_.first(size);
        left_ = left_.subspan(size);
        return true;
    }
    bool u8(std::uint8_t& out) {
        Bytes one;
        if (!take(1, one)) return false;
        out = one[0];
        return true;
    }
    bool u16(std::uint16_t& out) {
        Bytes two;
        if (!take(2, two)) return false;
        out = static_cast<std::uint16_t>(two[0] << 8 | two[1]);
        return true;
    }
    // A vector with a one-byte, or a two-byte length before it.
    bool vector8(Bytes& out) { return vector(1, out); }
    bool vector16(Bytes& out) { return vector(2, out); }

  private:
    bool vector(std::size_t prefix, Bytes& out) {
        if (left_.size() < prefix) return false;
        std::size_t size = 0;
        for (std::uint8_t byte : left_.first(prefix))
            size = size << 8 | byte;
        if (left_.size() - prefix < size) return false;
        out = left_.subspan(prefix, size);
        left_ = left_.subspan(prefix + size);
        return true;
    }

    Bytes left_;
};

}  // namespace sluice::tls
