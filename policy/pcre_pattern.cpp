#include "policy/pcre_pattern.h"

#include <array>
#include <optional>

#include "policy/name_pattern.h"
#include "policy/quote.h"

namespace sluice::policy {
namespace {

bool is_name_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// A name with its dots escaped or not; nothing when anything else is in it. A dot before a quantifier is
// none.
std::optional<std::string> literal(std::string_view regex, bool& has_bare_dot) {
    std::string name;
    for (std::size_t i = 0; i < regex.size(); ++i) {
        char c = regex[i];
        if (c == '\\' && i + 1 < regex.size() && (regex[i + 1] == '.' || regex[i + 1] == '-')) {
            name += regex[++i];
        } else if (is_name_byte(c)) {
            name += c;
        } else if (c == '.') {
            has_bare_dot = true;
            name += c;
        } else {
            return std::nullopt;
        }
    }
    if (name.empty()) return std::nullopt;
    return name;
}

struct Begin {
    std::string_view regex;
    std::string_view notation;
};
// How people write "and all below it" and "one label before it".
constexpr std::array begins{
    Begin{"(.*\\.)?", "suffix:"},   Begin{"(?:.*\\.)?", "suffix:"}, Begin{"(.+\\.)?", "suffix:"},
    Begin{"(?:.+\\.)?", "suffix:"}, Begin{".*\\.", "glob:**."},     Begin{".+\\.", "glob:**."},
    Begin{"[^.]+\\.", "glob:*."},   Begin{"[^.]*\\.", "glob:*."},   Begin{"[^\\.]+\\.", "glob:*."},
};

// The same in a notation that people can read; nothing when there is none.
std::optional<std::string> plain(std::string_view body, std::vector<std::string>& warnings) {
    std::string_view notation = "exact:";
    std::string_view rest = body;
    for (const Begin& begin : begins) {
        if (!body.starts_with(begin.regex)) continue;
        notation = begin.notation;
        rest.remove_prefix(begin.regex.size());
        break;
    }
    bool has_bare_dot = false;
    auto name = literal(rest, has_bare_dot);
    if (!name) return std::nullopt;
    std::string pattern = std::string(notation) + *name;
    if (!NamePattern::parse(pattern)) return std::nullopt;
    if (has_bare_dot) {
        warnings.push_back("has an unescaped dot, which stands for any character: read as a dot");
    }
    return pattern;
}

std::string as_regex(std::string_view body, bool at_begin, bool at_end) {
    return "re:" + std::string(at_begin ? "" : ".*") + "(?:" + std::string(body) + ")" + (at_end ? "" : ".*");
}

// `$` at the end that is no escaped one.
bool ends_anchored(std::string_view regex) {
    std::size_t backslashes = 0;
    if (!regex.ends_with('$')) return false;
    for (std::size_t i = regex.size() - 1; i > 0 && regex[i - 1] == '\\'; --i)
        ++backslashes;
    return backslashes % 2 == 0;
}

}  // namespace

std::expected<PcreReading, std::string> read_pcre(std::string_view text, bool anywhere) {
    PcreReading reading;
    std::string_view body = text;
    bool has_begin = body.starts_with('^');
    if (has_begin) body.remove_prefix(1);
    bool has_end = ends_anchored(body);
    if (has_end) body.remove_suffix(1);
    bool at_begin = has_begin || !anywhere;
    bool at_end = has_end || !anywhere;
    // "a|b" without parentheses: the anchors belong to the first and the last alternative only.
    bool alternatives = body.find('|') != body.npos;
    if (alternatives && (has_begin || has_end)) {
        reading.warnings.push_back(
            "has an alternative (|): its ^ and $ are read as those of all alternatives");
    }
    if (!has_begin || !has_end) {
        std::string which = !has_begin && !has_end ? "^ and $" : has_begin ? "$" : "^";
        reading.warnings.push_back("has no " + which +
                                   (anywhere ? ": found anywhere in a name, also in that of somebody else"
                                             : ": read as if it had, so that it matches whole names only"));
    }
    if (at_begin && at_end) {
        if (auto pattern = plain(body, reading.warnings)) {
            reading.pattern = std::move(*pattern);
            return reading;
        }
    }
    reading.pattern =
        at_begin && at_end && !alternatives ? "re:" + std::string(body) : as_regex(body, at_begin, at_end);
    auto parsed = NamePattern::parse(reading.pattern);
    if (!parsed) return std::unexpected(parsed.error() + ", in " + quote(text));
    if (has_careless_dot(body)) {
        reading.warnings.push_back("has an unescaped dot, which matches any character; write \\. for a dot");
    }
    return reading;
}

}  // namespace sluice::policy
