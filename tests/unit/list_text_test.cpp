#include "policy/list_text.h"

#include <gtest/gtest.h>
#include <lzma.h>
#include <zlib.h>

#include <sstream>

#include "policy/yaml_reader.h"

namespace sluice::policy {
namespace {

std::string gzip(const std::string& text) {
    z_stream stream{};
    deflateInit2(&stream, 9, Z_DEFLATED, MAX_WBITS + 16, 9, Z_DEFAULT_STRATEGY);
    std::string packed(deflateBound(&stream, text.size()), '\0');
    std::string input = text;
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    deflate(&stream, Z_FINISH);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    return packed;
}

std::string xz(const std::string& text, std::uint32_t preset = 6) {
    std::string packed(lzma_stream_buffer_bound(text.size()), '\0');
    std::size_t size = 0;
    EXPECT_EQ(lzma_easy_buffer_encode(preset, LZMA_CHECK_CRC64, nullptr,
                                      reinterpret_cast<const std::uint8_t*>(text.data()), text.size(),
                                      reinterpret_cast<std::uint8_t*>(packed.data()), &size, packed.size()),
              LZMA_OK);
    packed.resize(size);
    return packed;
}

// Every line with its number, one behind the other; or the error.
std::string lines(const std::string& bytes) {
    std::istringstream stream(bytes);
    std::string result;
    try {
        ListText text(stream, "list");
        for (std::string_view line;;) {
            const ListText::Next next = text.next(line);
            if (next == ListText::Next::end) return result;
            result += std::to_string(text.line_number()) + ":" +
                      (next == ListText::Next::too_long ? "TOO LONG" : std::string(line)) + "\n";
        }
    } catch (const FileError& error) {
        return error.what();
    }
}

TEST(ListText, PlainGzipAndXzSayTheSame) {
    for (const std::string text : {"", "one", "one\ntwo\n", "one\n\ntwo", "\n"}) {
        const std::string plain = lines(text);
        EXPECT_EQ(lines(gzip(text)), plain);
        EXPECT_EQ(lines(xz(text)), plain);
        EXPECT_EQ(lines(gzip(text) + gzip("more\n")), lines(text + "more\n"));
        EXPECT_EQ(lines(xz(text) + xz("more\n")), lines(text + "more\n"));
    }
    EXPECT_EQ(lines("one\n\ntwo"), "1:one\n2:\n3:two\n");
}

TEST(ListText, LongLinesAreSkippedAndCounted) {
    const std::string fits(list_line_bytes_max, 'a');
    EXPECT_EQ(lines(fits + "\nb"), "1:" + fits + "\n2:b\n");
    EXPECT_EQ(lines(fits + "a\nb\n"), "1:TOO LONG\n2:b\n");
    EXPECT_EQ(lines("x\n" + std::string(3'000'000, 'a') + "\nb\n"), "1:x\n2:TOO LONG\n3:b\n");
    EXPECT_EQ(lines(gzip(std::string(3'000'000, 'a'))), "1:TOO LONG\n");
}

TEST(ListText, PackedTextThatIsCutOffIsNotHalfRead) {
    std::string text;
    for (int i = 0; i < 2000; ++i)
        text += "name" + std::to_string(i * 7919) + ".example\n";
    for (const std::string& packed : {gzip(text), xz(text)}) {
        for (std::size_t bytes : {packed.size() - 1, packed.size() / 2, std::size_t{20}})
            EXPECT_TRUE(lines(packed.substr(0, bytes)).ends_with("found it cut off")) << bytes;
        std::string broken = packed;
        broken[packed.size() / 2] ^= 0x55;
        EXPECT_TRUE(lines(broken).ends_with("found broken bytes")) << lines(broken).substr(0, 100);
    }
}

TEST(ListText, RubbishBehindPackedTextIsAnError) {
    EXPECT_EQ(lines(gzip("one\n") + "rubbish"), "list: error: expected gzip data, found broken bytes");
}

}  // namespace
}  // namespace sluice::policy
