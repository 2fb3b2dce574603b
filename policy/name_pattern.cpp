#include "policy/name_pattern.h"

#include <re2/re2.h>

#include <algorithm>
#include <array>

#include "policy/address.h"
#include "policy/quote.h"
#include "policy/server_name.h"

namespace sluice::policy {
namespace {

constexpr std::array<std::string_view, 4> prefixes{
    "exact:", "suffix:", "glob:", "re:"};                 // in the order of Kind
constexpr std::size_t regex_bytes_max = 4096;             // far beyond any pattern a person can read
constexpr std::int64_t regex_memory_bytes_max = 1 << 20;  // of RE2, for the program and for the automaton

using Failure = std::unexpected<std::string>;

// `*` takes at least one character; the last one seen is the only one that ever needs to take more.
bool label_matches(std::string_view pattern, std::string_view label) {
    std::size_t p = 0;
    std::size_t l = 0;
    std::size_t star = pattern.npos;
    std::size_t taken = 0;
    while (l < label.size()) {
        if (p < pattern.size() && pattern[p] == '*') {
            star = p++;
            taken = ++l;
        } else if (p < pattern.size() && pattern[p] == label[l]) {
            ++p;
            ++l;
        } else if (star != pattern.npos) {
            p = star + 1;
            l = ++taken;
        } else {
            return false;
        }
    }
    return p == pattern.size();
}

std::string_view label_at(std::string_view name, std::size_t start) {
    return name.substr(start, name.find('.', start) - start);
}

// The same over whole labels. Positions are starts of labels; one past the size means that none is left.
bool glob_matches(std::string_view pattern, std::string_view name) {
    std::size_t p = 0;
    std::size_t n = 0;
    std::size_t after_stars = pattern.npos;
    std::size_t taken = 0;
    while (n <= name.size()) {
        std::size_t next = n + label_at(name, n).size() + 1;
        if (p <= pattern.size()) {
            std::string_view label = label_at(pattern, p);
            if (label == "**") {
                p = after_stars = p + 3;
                n = taken = next;
                continue;
            }
            if (label_matches(label, label_at(name, n))) {
                p += label.size() + 1;
                n = next;
                continue;
            }
        }
        if (after_stars == pattern.npos) return false;
        p = after_stars;
        n = taken += label_at(name, taken).size() + 1;
    }
    return p > pattern.size();
}

std::expected<std::string, std::string> parse_name(std::string_view body, bool is_suffix) {
    if (body.find('*') != body.npos) {
        return Failure("expected a name without wildcards (they need glob:), found " + quote(body));
    }
    if (is_suffix && body.starts_with('.')) {
        return Failure(
            "expected the suffix without a leading dot (it keeps to label borders by itself), found " +
            quote(body));
    }
    if (IpAddress::parse(body.substr(0, body.size() - (body.ends_with('.') ? 1 : 0)))) {
        return Failure("expected a name (addresses go under destination:), found the address " + quote(body));
    }
    return canonical_server_name(body);
}

std::expected<std::string, std::string> parse_glob(std::string_view body) {
    auto pattern = canonical_server_name(body, "*");
    if (!pattern) return pattern;
    for (std::size_t start = 0; start <= pattern->size();) {
        std::string_view label = label_at(*pattern, start);
        if (label.find("**") != label.npos && label != "**") {
            return Failure("expected ** to be a whole label, found " + quote(label));
        }
        start += label.size() + 1;
    }
    return pattern;
}

std::expected<std::shared_ptr<const RE2>, std::string> parse_regex(std::string_view body) {
    if (body.empty()) return Failure("expected a regular expression after re:, found nothing");
    if (body.size() > regex_bytes_max) {
        return Failure("expected a regular expression of at most 4096 bytes, found " +
                       std::to_string(body.size()));
    }
    if (std::ranges::any_of(body, [](char c) { return c < 0x20 || c >= 0x7f; })) {
        return Failure("expected printable ASCII (internationalised names in punycode, xn--...), found " +
                       quote(body));
    }
    RE2::Options options(RE2::Latin1);  // names are bytes
    options.set_case_sensitive(false);
    options.set_never_capture(true);
    options.set_log_errors(false);
    options.set_max_mem(regex_memory_bytes_max);
    auto regex = std::make_shared<const RE2>(re2::StringPiece(body.data(), body.size()), options);
    if (!regex->ok())
        return Failure("expected an RE2 regular expression, found a mistake: " + regex->error());
    return regex;
}

bool is_alphanumeric(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// The text with which every match of a regular expression ends, read from its end: letters, digits, hyphens
// and escaped dots. Nothing when an alternative, a flag or a quotation could make the end mean something
// else.
std::string literal_end(std::string_view regex) {
    if (regex.find('|') != regex.npos || regex.find("(?") != regex.npos || regex.find("\\Q") != regex.npos) {
        return {};
    }
    if (regex.ends_with('$')) regex.remove_suffix(1);
    std::string reversed;
    while (!regex.empty()) {
        char last = regex.back();
        bool escaped_dot = regex.ends_with("\\.") && !regex.ends_with("\\\\.");
        bool plain = (last >= 'a' && last <= 'z') || (last >= 'A' && last <= 'Z') ||
                     (last >= '0' && last <= '9') || last == '-';
        // An escaped letter is a class (\d) or an anchor (\b), or belongs to one (\x41, \pN, \017).
        if (plain && regex.substr(0, regex.size() - 1).ends_with('\\')) break;
        if (!plain && !escaped_dot) break;
        reversed += last >= 'A' && last <= 'Z' ? static_cast<char>(last - 'A' + 'a') : last;
        regex.remove_suffix(escaped_dot ? 2 : 1);
    }
    return {reversed.rbegin(), reversed.rend()};
}

}  // namespace

NamePattern::NamePattern(Kind kind, std::string text, std::string pattern,
                         std::shared_ptr<const re2::RE2> regex)
    : kind_(kind), text_(std::move(text)), pattern_(std::move(pattern)), regex_(std::move(regex)) {}

std::expected<NamePattern, std::string> NamePattern::parse(std::string_view text) {
    auto prefix = std::ranges::find_if(prefixes, [&](std::string_view p) { return text.starts_with(p); });
    if (prefix == prefixes.end()) {
        return Failure("expected exact:, suffix:, glob: or re: before the name, found " + quote(text));
    }
    std::string_view body = text.substr(prefix->size());
    auto kind = static_cast<Kind>(prefix - prefixes.begin());
    if (kind == Kind::regex) {
        auto regex = parse_regex(body);
        if (!regex) return Failure(regex.error());
        return NamePattern(kind, std::string(text), std::string(body), *regex);
    }
    auto pattern = kind == Kind::glob ? parse_glob(body) : parse_name(body, kind == Kind::suffix);
    if (!pattern) return Failure(pattern.error());
    return NamePattern(kind, std::string(text), std::move(*pattern), nullptr);
}

bool NamePattern::matches(std::string_view server_name) const {
    if (server_name.empty()) return false;
    switch (kind_) {
        case Kind::exact:
            return server_name == pattern_;
        case Kind::suffix: {
            if (!server_name.ends_with(pattern_)) return false;
            std::size_t above = server_name.size() - pattern_.size();
            return above == 0 || server_name[above - 1] == '.';
        }
        case Kind::glob:
            return glob_matches(pattern_, server_name);
        case Kind::regex:
            return RE2::FullMatch(re2::StringPiece(server_name.data(), server_name.size()), *regex_);
    }
    return false;
}

std::string NamePattern::required_suffix() const {
    if (kind_ == Kind::exact || kind_ == Kind::suffix) return pattern_;
    std::string end = pattern_;
    if (kind_ == Kind::glob) {
        std::size_t star = end.rfind('*');
        if (star == end.npos) return end;
        end.erase(0, star + 1);
    } else {
        end = literal_end(end);
    }
    // What comes before the first dot may be a part of a label.
    std::size_t dot = end.find('.');
    return dot == end.npos ? std::string() : end.substr(dot + 1);
}

std::string NamePattern::canonical() const {
    return std::string(prefixes[static_cast<std::size_t>(kind_)]) + pattern_;
}

bool has_careless_dot(std::string_view regex) {
    bool in_class = false;
    for (std::size_t i = 0; i < regex.size(); ++i) {
        char next = i + 1 < regex.size() ? regex[i + 1] : '\0';
        if (regex[i] == '\\') {
            ++i;
        } else if (in_class) {
            in_class = regex[i] != ']';
        } else if (regex[i] == '[') {
            in_class = true;
            if (next == '^') ++i;
            if (i + 1 < regex.size() && regex[i + 1] == ']') ++i;  // a ] that comes first is a member
        } else if (regex[i] == '.' && is_alphanumeric(next)) {
            return true;
        }
    }
    return false;
}

}  // namespace sluice::policy
