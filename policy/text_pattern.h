#pragma once
// A pattern for short texts that a peer says of itself, such as a fingerprint: `*` stands for any characters,
// also none; everything else, capitals too, for itself.
#include <expected>
#include <string>
#include <string_view>

namespace sluice::policy {

class TextPattern {
  public:
    // 1 to 255 characters of printable ASCII. The error is one sentence, "expected ..., found ...".
    static std::expected<TextPattern, std::string> parse(std::string_view text);

    bool matches(std::string_view text) const;  // an empty text matches nothing; allocates nothing
    const std::string& text() const { return text_; }

  private:
    explicit TextPattern(std::string text) : text_(std::move(text)) {}
    std::string text_;
};

}  // namespace sluice::policy
