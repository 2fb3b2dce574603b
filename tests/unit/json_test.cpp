#include "userspace/text/json.h"

#include <gtest/gtest.h>

#include <array>

namespace sluice::text {
namespace {

std::string quoted(std::string_view value) {
    fmt::memory_buffer out;
    append_json_string(out, value);
    return fmt::to_string(out);
}

TEST(Json, HostileBytesCannotLeaveTheirQuotes) {
    EXPECT_EQ(quoted(R"(a"b\c)"), R"("a\"b\\c")");
    EXPECT_EQ(quoted("line\nbreak\x1b[2J"), R"("line\u000abreak\u001b[2J")");
    EXPECT_EQ(quoted(std::string_view("\0\x7f\xff", 3)), R"("\u0000\u007f\u00ff")");
}

TEST(Json, AnObjectHoldsWhatWasAddedInOrder) {
    fmt::memory_buffer out;
    {
        JsonObject object(out);
        const std::array<std::string, 2> alpn = {"h2", "\n"};
        object.add("name", "x")
            .add("bytes", 18446744073709551615ull)
            .add("ok", true)
            .add("ms", 1.23456)
            .add("alpn", alpn);
    }
    EXPECT_EQ(fmt::to_string(out),
              R"({"name":"x","bytes":18446744073709551615,"ok":true,"ms":1.235,"alpn":["h2","\u000a"]})");
}

TEST(Json, TerminalsSeeNoControlBytes) {
    EXPECT_EQ(printable("a\x1b[31m\xc3"), "a\\x1b[31m\\xc3");
}

}  // namespace
}  // namespace sluice::text
