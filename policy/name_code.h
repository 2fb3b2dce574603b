#pragma once
// A prefix code for server names: about 3.4 bits a character, instead of 8.
//
// A name is coded from its right end to its left, each character by a Huffman code that depends on the two
// characters to its right, and on whether it is in the top-level domain (so .com costs few bits). So the code
// of each parent (example.com) is a prefix of the name's own (www.example.com), and one pass gives all of
// them. Two names are the same if and only if their codes have the same length and bits: whoever compares
// codes need not decode.
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/server_name.h"

namespace sluice::policy {

inline constexpr unsigned code_bits_max = 12;  // of one character: with its length, 16 bits
inline constexpr unsigned code_length_bits = 4;
inline constexpr std::size_t coded_words_max = server_name_bytes_max * code_bits_max / 64 + 3;

// The codes of a name and of its parents.
struct CodedName {
    struct Border {
        std::uint32_t bits;  // length of the code
        std::uint32_t at;    // in the name: where the suffix begins
    };
    std::array<std::uint64_t, coded_words_max> words;  // first bit lowest; beyond the last border: garbage
    std::array<Border, server_name_bytes_max + 1>
        borders;  // of each suffix at a label's begin, shortest first
    std::size_t borders_count;
};

class NameCode {
  public:
    static constexpr std::size_t symbols = 39;  // a-z 0-9 - _ .
    static constexpr std::size_t contexts = 2 * (symbols + 1) * (symbols + 1);
    static constexpr std::size_t lengths_bytes = contexts * symbols;

    // How often each character follows each context.
    class Statistics {
      public:
        void add(std::string_view name);  // canonical
      private:
        friend class NameCode;
        std::vector<std::uint32_t> counts_ = std::vector<std::uint32_t>(lengths_bytes, 1);
    };

    explicit NameCode(const Statistics& statistics);  // the best code for such names
    // From the lengths of a code made before. False: they are not the lengths of a complete prefix code.
    static bool is_complete(std::span<const std::uint8_t, lengths_bytes> lengths);
    explicit NameCode(std::span<const std::uint8_t, lengths_bytes> lengths);  // REQUIRES is_complete

    // Codes `name` and its parents. Ends, leaving out what is to the left, at a byte that no canonical name
    // has and after 253 bytes.
    void encode(std::string_view name, CodedName& coded) const;

    // The name whose code is the first `bits` bits of `code`; short when there is no such name.
    // `code` is readable up to the next multiple of 8 bytes.
    void decode(const std::uint8_t* code, std::size_t bits, std::string& name) const;

    std::span<const std::uint8_t, lengths_bytes> lengths() const {
        return std::span<const std::uint8_t, lengths_bytes>(lengths_);
    }
    std::size_t bytes() const;  // of memory

  private:
    void assign_codes();

    std::vector<std::uint8_t> lengths_;  // [context][symbol]
    std::vector<std::uint16_t> codes_;   // the same; the code's bits, first one lowest, above its length
    std::vector<std::uint8_t> by_code_;  // the symbols of each context, in the order of their codes
};

}  // namespace sluice::policy
