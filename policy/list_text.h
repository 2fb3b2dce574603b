#pragma once
// The lines of a list, from plain text, gzip or xz (told apart by their first bytes, not by the file's name).
// Whatever the input, memory stays bounded: one window of the decompressor, one buffer, one line.
#include <cstdint>
#include <istream>
#include <memory>
#include <string>
#include <string_view>

namespace sluice::policy {

// Longer lines are skipped: no server name, and no rule that matters, needs so much.
inline constexpr std::size_t list_line_bytes_max = 4096;
// Of one list, unpacked: a bomb must end somewhere.
inline constexpr std::uint64_t list_bytes_max = std::uint64_t{4} << 30;

class ListText {
  public:
    // `file` is its name in errors; the stream must outlive the object.
    ListText(std::istream& stream, std::string file);
    ~ListText();
    ListText(const ListText&) = delete;
    ListText& operator=(const ListText&) = delete;

    enum class Next { line, too_long, end };
    // The next line, without its end; `line` is valid until the next call. Throws FileError when the text
    // cannot be unpacked or is longer than list_bytes_max.
    Next next(std::string_view& line);
    int line_number() const { return line_number_; }  // of the last line given, 1-based

    class Unpacker;  // one for each kind of packing

  private:
    bool fill();  // more text into buffer_; false: there is none

    std::string file_;
    std::unique_ptr<Unpacker> unpacker_;
    std::string buffer_;
    std::size_t begin_ = 0;  // of what was not given out yet
    std::uint64_t bytes_ = 0;
    int line_number_ = 0;
    bool skipping_ = false;  // the rest of a line that is too long
    bool ended_ = false;
};

}  // namespace sluice::policy
