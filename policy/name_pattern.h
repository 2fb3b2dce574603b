#pragma once
// A pattern for server names, in one of four notations:
//
//   exact:www.example.com   that name
//   suffix:example.com      example.com and every name below it, on label borders: not notexample.com
//   glob:*.example.com      Cilium's label rules: `*` stands for any characters within one label (at least
//                           one), `**` for one or more whole labels
//   re:^[a-z]+\.example\.com$   RE2, anchored at both ends whether or not it says so
//
// Patterns are lower-cased and lose one trailing dot, as names do. An empty name matches no pattern. Names
// are ASCII: an internationalised one is written in punycode.
#include <expected>
#include <memory>
#include <string>
#include <string_view>

namespace re2 {
class RE2;
}

namespace sluice::policy {

class NamePattern {
  public:
    // The error is one sentence for people, e.g. "expected exact:, suffix:, glob: or re: before the name,
    // found ...".
    static std::expected<NamePattern, std::string> parse(std::string_view text);

    // `server_name`: lower case, no trailing dot. Linear in its length but for globs, where it is at worst
    // quadratic (names have 253 bytes at most). Allocates nothing, but for RE2's automaton, which is bounded.
    bool matches(std::string_view server_name) const;
    const std::string& text() const { return text_; }  // as written
    std::string canonical() const;                     // the same for any two notations of one pattern
    bool is_regex() const { return kind_ == Kind::regex; }

    enum class Kind { exact, suffix, glob, regex };
    Kind kind() const { return kind_; }
    const std::string& pattern() const { return pattern_; }  // canonical, without the notation's prefix
    // Whole labels with which every name that matches ends, as many as are easily seen; empty: any.
    std::string required_suffix() const;

  private:
    NamePattern(Kind kind, std::string text, std::string pattern, std::shared_ptr<const re2::RE2> regex);

    Kind kind_;
    std::string text_;
    std::string pattern_;
    std::shared_ptr<const re2::RE2> regex_;
};

// A dot that stands for any character right before a letter or a digit: re:www.example.com also matches
// wwwxexample.com.
bool has_careless_dot(std::string_view regex);

}  // namespace sluice::policy
