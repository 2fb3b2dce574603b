#pragma once
// JSON out, one object per line, for logs and for --json. Text may come from an attacker: every byte outside
// printable ASCII is escaped (\u00XX), so that no line can break out of its quotes, a log file or a terminal.
#include <fmt/format.h>

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace sluice::text {

// Appends `value` to `out` as a quoted JSON string.
void append_json_string(fmt::memory_buffer& out, std::string_view value);

// `value` with every byte outside printable ASCII as \xNN: for terminals.
std::string printable(std::string_view value);

// Writes one JSON object into a buffer; the destructor closes the brace. Keys are trusted literals.
class JsonObject {
  public:
    explicit JsonObject(fmt::memory_buffer& out) : out_(out) { out_.push_back('{'); }
    ~JsonObject() { out_.push_back('}'); }
    JsonObject(const JsonObject&) = delete;
    JsonObject& operator=(const JsonObject&) = delete;

    JsonObject& add(std::string_view key, std::string_view value);
    JsonObject& add(std::string_view key, const char* value) { return add(key, std::string_view(value)); }
    JsonObject& add(std::string_view key, bool value);
    JsonObject& add(std::string_view key, std::span<const std::string> values);
    template <std::integral T>
        requires(!std::same_as<T, bool>)
    JsonObject& add(std::string_view key, T value) {
        begin(key);
        fmt::format_to(std::back_inserter(out_), "{}", value);
        return *this;
    }
    JsonObject& add(std::string_view key, double value);  // at most 3 decimals

  private:
    void begin(std::string_view key);

    fmt::memory_buffer& out_;
    bool first_ = true;
};

}  // namespace sluice::text
