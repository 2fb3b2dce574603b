#pragma once
// JSON in: one object with flat values, as a line of the log is. Pure; strict; bounded by its input.
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::text {

class JsonFields {
  public:
    // Nothing unless `text` is one object, whose values are strings, numbers, true, false, null, or arrays of
    // these. Of a key that comes twice the last value counts.
    static std::optional<JsonFields> parse(std::string_view text);

    // A string without its quotes, anything else as written; empty when there is none, or an array.
    std::string_view text(std::string_view key) const;
    // An array's values, in the same way; empty when there is none.
    const std::vector<std::string>& texts(std::string_view key) const;

  private:
    std::map<std::string, std::vector<std::string>, std::less<>> arrays_;
    std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace sluice::text
