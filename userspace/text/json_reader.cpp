#include "userspace/text/json_reader.h"

#include <algorithm>
#include <cstdint>

namespace sluice::text {
namespace {

class Scanner {
  public:
    explicit Scanner(std::string_view text) : text_(text) {}

    void skip_space() { text_.remove_prefix(std::min(text_.find_first_not_of(" \t\r\n"), text_.size())); }
    bool take(char c) {
        skip_space();
        if (!text_.starts_with(c)) return false;
        text_.remove_prefix(1);
        return true;
    }
    bool at(char c) {
        skip_space();
        return text_.starts_with(c);
    }
    bool at_end() {
        skip_space();
        return text_.empty();
    }

    std::optional<std::string> string() {
        if (!take('"')) return std::nullopt;
        std::string out;
        while (!text_.empty()) {
            char c = text_.front();
            text_.remove_prefix(1);
            if (c == '"') return out;
            if (static_cast<unsigned char>(c) < 0x20) return std::nullopt;
            if (c != '\\') {
                out += c;
            } else if (!escape(out)) {
                return std::nullopt;
            }
        }
        return std::nullopt;
    }

    // A string, or a word such as 12.5, true or null.
    std::optional<std::string> scalar() {
        if (at('"')) return string();
        std::size_t end = 0;
        auto is_part = [](char c) {
            return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' || c == '.' ||
                   c == 'E';
        };
        while (end < text_.size() && is_part(text_[end]))
            ++end;
        if (end == 0) return std::nullopt;
        std::string word(text_.substr(0, end));
        text_.remove_prefix(end);
        bool is_number = word[0] == '-' || (word[0] >= '0' && word[0] <= '9');
        if (!is_number && word != "true" && word != "false" && word != "null") return std::nullopt;
        return word;
    }

  private:
    bool escape(std::string& out) {
        constexpr std::string_view marks = "\"\\/bfnrt";
        constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
        if (text_.empty()) return false;
        char c = text_.front();
        text_.remove_prefix(1);
        if (std::size_t mark = marks.find(c); mark != marks.npos) {
            out += meanings[mark];
            return true;
        }
        std::uint32_t code = 0;
        if (c != 'u' || text_.size() < 4) return false;
        for (char digit : text_.substr(0, 4)) {
            constexpr std::string_view digits = "0123456789abcdef";
            std::size_t value =
                digits.find(digit >= 'A' && digit <= 'F' ? static_cast<char>(digit | 0x20) : digit);
            if (value == digits.npos) return false;
            code = code << 4 | static_cast<std::uint32_t>(value);
        }
        text_.remove_prefix(4);
        // The log escapes bytes, not characters: one escape up to 00ff is one byte. What else there may be in
        // other logs has no meaning here.
        out += code <= 0xff ? static_cast<char>(code) : '?';
        return true;
    }

    std::string_view text_;
};

}  // namespace

std::optional<JsonFields> JsonFields::parse(std::string_view text) {
    Scanner scanner(text);
    JsonFields fields;
    if (!scanner.take('{')) return std::nullopt;
    if (scanner.take('}')) return scanner.at_end() ? std::optional(fields) : std::nullopt;
    do {
        auto key = scanner.string();
        if (!key || !scanner.take(':')) return std::nullopt;
        if (!scanner.take('[')) {
            auto value = scanner.scalar();
            if (!value) return std::nullopt;
            fields.values_[*key] = std::move(*value);
            continue;
        }
        std::vector<std::string> values;
        if (!scanner.at(']')) {
            do {
                auto value = scanner.scalar();
                if (!value) return std::nullopt;
                values.push_back(std::move(*value));
            } while (scanner.take(','));
        }
        if (!scanner.take(']')) return std::nullopt;
        fields.arrays_[*key] = std::move(values);
    } while (scanner.take(','));
    if (!scanner.take('}') || !scanner.at_end()) return std::nullopt;
    return fields;
}

std::string_view JsonFields::text(std::string_view key) const {
    auto value = values_.find(key);
    return value == values_.end() ? std::string_view() : std::string_view(value->second);
}

const std::vector<std::string>& JsonFields::texts(std::string_view key) const {
    static const std::vector<std::string> none;
    auto value = arrays_.find(key);
    return value == arrays_.end() ? none : value->second;
}

}  // namespace sluice::text
