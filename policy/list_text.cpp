#include "policy/list_text.h"

#include <lzma.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "policy/yaml_reader.h"

namespace sluice::policy {

// Unpacks, a piece at a time. Errors are one sentence, thrown as std::runtime_error.
class ListText::Unpacker {
  public:
    virtual ~Unpacker() = default;
    virtual std::size_t read(char* to, std::size_t bytes_max) = 0;  // 0: the end
};

namespace {

constexpr std::size_t buffer_bytes = 256 << 10;
static_assert(buffer_bytes > list_line_bytes_max);
// What `xz -9` needs to unpack is 65 MiB.
constexpr std::uint64_t xz_memory_max = 128 << 20;

class Plain : public ListText::Unpacker {
  public:
    explicit Plain(std::istream& stream) : stream_(stream) {}
    std::size_t read(char* to, std::size_t bytes_max) override {
        stream_.read(to, static_cast<std::streamsize>(bytes_max));
        if (stream_.bad()) throw std::runtime_error("expected a readable file, found that reading fails");
        return static_cast<std::size_t>(stream_.gcount());
    }

  private:
    std::istream& stream_;
};

// The packed bytes of a file, a piece at a time.
class Packed {
  public:
    explicit Packed(std::istream& stream) : plain_(stream) {}
    bool refill() {  // false: the end
        bytes_ = plain_.read(buffer_.data(), buffer_.size());
        return bytes_ > 0;
    }
    unsigned char* data() { return reinterpret_cast<unsigned char*>(buffer_.data()); }
    std::size_t bytes() const { return bytes_; }

  private:
    Plain plain_;
    std::array<char, 64 << 10> buffer_;
    std::size_t bytes_ = 0;
};

class Gzip : public ListText::Unpacker {
  public:
    explicit Gzip(std::istream& stream) : packed_(stream) {
        constexpr int gzip_only = 16;
        if (::inflateInit2(&inflater_, MAX_WBITS + gzip_only) != Z_OK) throw std::bad_alloc();
    }
    ~Gzip() override { ::inflateEnd(&inflater_); }
    Gzip(const Gzip&) = delete;
    Gzip& operator=(const Gzip&) = delete;

    std::size_t read(char* to, std::size_t bytes_max) override {
        inflater_.next_out = reinterpret_cast<Bytef*>(to);
        inflater_.avail_out = static_cast<uInt>(bytes_max);
        while (inflater_.avail_out > 0) {
            if (inflater_.avail_in == 0) {
                if (!packed_.refill()) {
                    if (!at_border_) throw std::runtime_error("expected whole gzip data, found it cut off");
                    break;
                }
                inflater_.next_in = packed_.data();
                inflater_.avail_in = static_cast<uInt>(packed_.bytes());
            }
            // A file may be several, one behind the other.
            if (at_border_) ::inflateReset(&inflater_);
            const int result = ::inflate(&inflater_, Z_NO_FLUSH);
            at_border_ = result == Z_STREAM_END;
            if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
                throw std::runtime_error("expected gzip data, found broken bytes");
        }
        return bytes_max - inflater_.avail_out;
    }

  private:
    Packed packed_;
    z_stream inflater_{};
    bool at_border_ = true;
};

class Xz : public ListText::Unpacker {
  public:
    explicit Xz(std::istream& stream) : packed_(stream) {
        if (::lzma_stream_decoder(&decoder_, xz_memory_max, LZMA_CONCATENATED) != LZMA_OK)
            throw std::bad_alloc();
    }
    ~Xz() override { ::lzma_end(&decoder_); }
    Xz(const Xz&) = delete;
    Xz& operator=(const Xz&) = delete;

    std::size_t read(char* to, std::size_t bytes_max) override {
        decoder_.next_out = reinterpret_cast<std::uint8_t*>(to);
        decoder_.avail_out = bytes_max;
        while (decoder_.avail_out > 0 && !ended_) {
            if (decoder_.avail_in == 0 && packed_.refill()) {
                decoder_.next_in = packed_.data();
                decoder_.avail_in = packed_.bytes();
            }
            // Without input: the end of the file, which the decoder must be told of.
            step(decoder_.avail_in == 0 ? LZMA_FINISH : LZMA_RUN);
        }
        return bytes_max - decoder_.avail_out;
    }

  private:
    void step(lzma_action action) {
        switch (::lzma_code(&decoder_, action)) {
            case LZMA_OK:
                return;
            case LZMA_STREAM_END:
                ended_ = true;
                return;
            case LZMA_MEMLIMIT_ERROR:
                throw std::runtime_error(
                    "expected xz data that unpacks in 128 MiB, found a larger dictionary");
            case LZMA_MEM_ERROR:
                throw std::bad_alloc();
            case LZMA_BUF_ERROR:
                throw std::runtime_error("expected whole xz data, found it cut off");
            default:
                throw std::runtime_error("expected xz data, found broken bytes");
        }
    }

    Packed packed_;
    lzma_stream decoder_ = LZMA_STREAM_INIT;
    bool ended_ = false;
};

std::unique_ptr<ListText::Unpacker> make_unpacker(std::istream& stream) {
    std::array<char, 6> start{};
    stream.read(start.data(), start.size());
    const auto bytes = static_cast<std::size_t>(std::max<std::streamsize>(stream.gcount(), 0));
    const std::string_view head(start.data(), bytes);
    stream.clear();
    stream.seekg(0);
    if (head.starts_with("\x1f\x8b")) return std::make_unique<Gzip>(stream);
    if (head == std::string_view("\xfd"
                                 "7zXZ\0",
                                 6))
        return std::make_unique<Xz>(stream);
    return std::make_unique<Plain>(stream);
}

}  // namespace

ListText::ListText(std::istream& stream, std::string file)
    : file_(std::move(file)), unpacker_(make_unpacker(stream)) {}

ListText::~ListText() = default;

bool ListText::fill() {
    if (ended_) return false;
    buffer_.erase(0, begin_);
    begin_ = 0;
    const std::size_t kept = buffer_.size();
    buffer_.resize(buffer_bytes);
    std::size_t bytes = 0;
    try {
        bytes = unpacker_->read(buffer_.data() + kept, buffer_bytes - kept);
    } catch (const std::runtime_error& error) {
        throw FileError(file_, 0, 0, error.what());
    }
    buffer_.resize(kept + bytes);
    bytes_ += bytes;
    ended_ = bytes == 0;
    if (bytes_ > list_bytes_max)
        throw FileError(file_, 0, 0, "expected a list of at most 4 GiB unpacked, found a larger one");
    return !ended_;
}

ListText::Next ListText::next(std::string_view& line) {
    for (;;) {
        std::size_t end = buffer_.find('\n', begin_);
        // Only the last line may lack its end.
        if (end == buffer_.npos && ended_) {
            if (begin_ == buffer_.size()) return Next::end;
            end = buffer_.size();
        }
        if (end != buffer_.npos) {
            line = std::string_view(buffer_).substr(begin_, end - begin_);
            begin_ = std::min(end + 1, buffer_.size());
            if (std::exchange(skipping_, false)) continue;
            ++line_number_;
            return line.size() > list_line_bytes_max ? Next::too_long : Next::line;
        }
        if (buffer_.size() - begin_ > list_line_bytes_max) {
            begin_ = buffer_.size();
            if (!std::exchange(skipping_, true)) {
                ++line_number_;
                return Next::too_long;
            }
        }
        fill();
    }
}

}  // namespace sluice::policy
