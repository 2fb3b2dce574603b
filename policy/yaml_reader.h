#pragma once
// Strict reading of YAML: each mistake is reported with file, line, column and what was expected, and a key
// that nobody asked for is a mistake too. Whatever the text, what comes out is a value or a FileError.
#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::policy {

// What a file got wrong. what() is one line, ready for people: "gateway.yaml:12:7: error: expected ..., found
// ...".
class FileError : public std::runtime_error {
  public:
    FileError(std::string_view file, int line, int column,
              std::string_view message);  // 1-based; line 0: the file
};

class YamlMapping;
using Keys = std::span<const std::string_view>;

// One value of a file, and where it stands. Every reading function throws FileError.
class YamlReader {
  public:
    static YamlReader parse(const std::string& file, const std::string& text);  // exactly one document

    const std::string& file() const { return *file_; }
    int line() const { return line_; }
    int column() const { return column_; }

    // The sentence should read "expected ..., found ...".
    [[noreturn]] void fail(std::string_view sentence) const;
    // "expected <wanted>, found <this value>"
    [[noreturn]] void fail_expecting(std::string_view wanted) const;

    bool is_mapping() const;
    bool is_scalar() const;
    std::string text(std::string_view wanted) const;                   // a scalar, as written
    bool flag() const;                                                 // true or false, nothing else
    std::uint64_t number(std::uint64_t min, std::uint64_t max) const;  // decimal, or hexadecimal after 0x
    std::size_t word(std::span<const std::string_view> words) const;   // which of them
    std::vector<YamlReader> entries(std::string_view wanted) const;    // a list, not empty, or one scalar
    std::vector<YamlReader> mappings(std::string_view wanted) const;   // a list of mappings, perhaps empty
    YamlMapping mapping(std::string_view wanted, Keys keys) const;
    YamlMapping mapping(std::string_view wanted, std::initializer_list<std::string_view> keys) const;
    // A mapping whose keys the file chooses, each of them once.
    std::vector<std::pair<YamlReader, YamlReader>> pairs(std::string_view wanted) const;

    // A scalar that `parse` (from text to an optional) understands.
    template <typename Parse>
    auto parsed(std::string_view wanted, Parse parse) const {
        auto value = parse(text(wanted));
        if (!value) fail_expecting(wanted);
        return *std::move(value);
    }

    // "the word is nearly NAME": " (did you mean NAME?)", else empty.
    static std::string suggestion(std::string_view word, Keys names);

  private:
    friend class YamlMapping;
    YamlReader(std::shared_ptr<const std::string> file, YAML::Node node, YAML::Mark mark);

    YamlReader below(const YAML::Node& node, YAML::Mark key) const;
    std::string found() const;

    std::shared_ptr<const std::string> file_;
    YAML::Node node_;
    int line_;
    int column_;
};

// A mapping with known keys. A merge key (<<) is resolved, one level deep.
class YamlMapping {
  public:
    const YamlReader* find(std::string_view key) const;  // null when the file is silent
    const YamlReader& at(std::string_view key) const;    // throws FileError when the file is silent

  private:
    friend class YamlReader;
    YamlMapping(YamlReader self, std::string wanted) : self_(std::move(self)), wanted_(std::move(wanted)) {}
    void add_pairs(const YamlReader& from, Keys keys, bool merged);
    void merge(const YamlReader& from, Keys keys);

    YamlReader self_;
    std::string wanted_;
    std::vector<std::pair<std::string, YamlReader>> entries_;
};

}  // namespace sluice::policy
