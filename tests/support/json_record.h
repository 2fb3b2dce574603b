#pragma once
// One JSON object as tests want it: flat text by key. Nested objects become "outer.inner", arrays
// "first,second".
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::test {

class JsonRecord {
  public:
    // Throws std::runtime_error, with the text, when it is not one JSON object.
    static JsonRecord parse(std::string_view text);
    // Several objects: one per line, or one array of them.
    static std::vector<JsonRecord> parse_all(std::string_view text);

    bool has(const std::string& key) const { return values_.contains(key); }
    std::string text(const std::string& key) const;      // "" when there is none
    std::uint64_t number(const std::string& key) const;  // without its fraction; throws when there is none
    const std::map<std::string, std::string>& values() const { return values_; }

  private:
    std::map<std::string, std::string> values_;
};

// For a failing test's message.
std::ostream& operator<<(std::ostream& out, const JsonRecord& record);

}  // namespace sluice::test
