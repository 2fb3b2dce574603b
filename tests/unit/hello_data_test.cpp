// 788 hellos of real clients, beside the server name and JA3 that another tool found in each. The file lies
// beside the source tree, not in it.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/hello_parts.h"
#include "tests/unit/ja3.h"
#include "userspace/tls/client_hello.h"

namespace sluice::tls {
namespace {

const std::filesystem::path data_file =
    std::filesystem::path(SLUICE_SOURCE_DIR) / ".." / "shared" / "data" / "client_hellos.jsonl";

struct Sample {
    std::string source;
    std::string server_name;  // empty: none found
    std::string ja3;          // empty: the other tool could not make sense of the hello
    test::Octets bytes;
};

// The value of a string in one flat JSON object without escapes; empty for null.
std::string value_of(const std::string& line, const std::string& key) {
    std::string opening = "\"" + key + "\": \"";
    std::size_t at = line.find(opening);
    if (at == std::string::npos) return {};
    at += opening.size();
    return line.substr(at, line.find('"', at) - at);
}

class HelloData : public testing::Test {
  protected:
    void SetUp() override {
        std::ifstream file(data_file);
        if (!file) GTEST_SKIP() << data_file << " is absent";
        for (std::string line; std::getline(file, line);) {
            samples_.push_back({value_of(line, "source"), value_of(line, "server_name"),
                                value_of(line, "ja3"), test::from_base64(value_of(line, "bytes"))});
        }
        ASSERT_EQ(samples_.size(), 788);
    }

    std::vector<Sample> samples_;
};

TEST_F(HelloData, AgreesWithTheOtherToolInServerNameAndJa3) {
    for (const Sample& sample : samples_) {
        ClientHello hello = parse_client_hello(sample.bytes);
        EXPECT_EQ(hello.server_name, sample.server_name) << sample.source << ": " << hello.why;
        if (sample.ja3.empty()) {
            EXPECT_EQ(hello.status, HelloStatus::malformed) << sample.source;
            continue;
        }
        EXPECT_EQ(test::ja3(hello), sample.ja3) << sample.source << ": " << hello.why;
        bool named = !hello.server_name.empty() && !hello.server_name_is_address;
        EXPECT_EQ(hello.status, named ? HelloStatus::found : HelloStatus::no_server_name) << sample.source;
        EXPECT_EQ(hello.bytes, sample.bytes.size()) << sample.source;
    }
}

TEST_F(HelloData, EveryPrefixIsIncomplete) {
    for (const Sample& sample : samples_) {
        std::span<const std::uint8_t> whole(sample.bytes);
        for (std::size_t size = 0; size < whole.size(); ++size) {
            ClientHello hello = parse_client_hello(whole.first(size));
            ASSERT_EQ(hello.status, HelloStatus::incomplete) << sample.source << " cut to " << size;
            ASSERT_GT(hello.bytes_needed, size) << sample.source;
            ASSERT_LE(hello.bytes_needed, whole.size()) << sample.source;
        }
    }
}

}  // namespace
}  // namespace sluice::tls
