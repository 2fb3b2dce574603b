#include "policy/list_line.h"

#include <algorithm>

#include "policy/address.h"
#include "policy/quote.h"
#include "policy/server_name.h"

namespace sluice::policy {
namespace {

constexpr std::string_view blanks = " \t\r\f\v";

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(blanks);
    if (begin == text.npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

// Cuts the first word off.
std::string_view take_word(std::string_view& text) {
    text = trimmed(text);
    const std::string_view word = text.substr(0, std::min(text.find_first_of(blanks), text.size()));
    text.remove_prefix(word.size());
    return word;
}

// Without a comment behind it.
std::string_view before_comment(std::string_view text) {
    return trimmed(text.substr(0, std::min(text.find('#'), text.size())));
}

// Nearly all names of a list are canonical as they are: one look at each byte then suffices.
bool is_canonical(std::string_view name) {
    std::size_t label = 0;
    for (char c : name) {
        if (c == '.') {
            if (label == 0) return false;
            label = 0;
        } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_') {
            if (++label > label_bytes_max) return false;
        } else {
            return false;
        }
    }
    return label > 0 && name.size() <= server_name_bytes_max;
}

// No top-level domain is a number (RFC 3696 2), so such a "name" is an IPv4 address, or part of one.
bool ends_in_number(std::string_view name) {
    if (name.ends_with('.')) name.remove_suffix(1);
    const std::size_t dot = name.rfind('.');
    const std::string_view top = name.substr(dot == name.npos ? 0 : dot + 1);
    return !top.empty() && std::ranges::all_of(top, [](char c) { return c >= '0' && c <= '9'; });
}

// The options of an adblock rule that make no difference to a whole connection.
bool is_harmless_option(std::string_view option) {
    constexpr std::array<std::string_view, 6> harmless{"important", "all",   "document",
                                                       "doc",       "popup", "empty"};
    return std::ranges::find(harmless, option) != harmless.end();
}

bool are_harmless_options(std::string_view options) {
    while (!options.empty()) {
        const std::size_t comma = std::min(options.find(','), options.size());
        if (!is_harmless_option(trimmed(options.substr(0, comma)))) return false;
        options.remove_prefix(std::min(comma + 1, options.size()));
    }
    return true;
}

}  // namespace

void ListLine::read(ListFormat format, std::string_view line) {
    kind = Kind::nothing;
    names.clear();
    canonical_.clear();
    line = trimmed(line);
    if (line.starts_with("\xef\xbb\xbf")) line = trimmed(line.substr(3));  // a byte order mark
    if (line.empty()) return;
    switch (format) {
        case ListFormat::domains:
        case ListFormat::ut1:
            return read_domain(line);
        case ListFormat::hosts:
            return read_hosts(line);
        case ListFormat::adblock:
            return read_adblock(line);
    }
}

bool ListLine::add(std::string_view name, NameReach reach) {
    if (is_canonical(name)) {
        names.push_back({name, reach});
        return true;
    }
    auto canonical = canonical_server_name(name);
    if (!canonical) {
        kind = Kind::bad;
        mistake = canonical.error();
        return false;
    }
    // Several names of one line may need this: they lie one behind the other.
    if (canonical_.capacity() < list_line_bytes_reserved) canonical_.reserve(list_line_bytes_reserved);
    const std::size_t at = canonical_.size();
    canonical_ += *canonical;
    names.push_back({std::string_view(canonical_).substr(at), reach});
    return true;
}

void ListLine::read_domain(std::string_view line) {
    if (line.starts_with('#') || line.starts_with('!') || line.starts_with(';') || line.starts_with("//"))
        return;
    line = before_comment(line);
    if (line.starts_with("*.")) line.remove_prefix(2);
    if (line.starts_with('.')) line.remove_prefix(1);
    kind = Kind::ignored;
    if (IpAddress::parse(line) || ends_in_number(line)) return;
    if (add(line, NameReach::subtree)) kind = Kind::names;
}

void ListLine::read_hosts(std::string_view line) {
    if (line.starts_with('#')) return;
    line = before_comment(line);
    const std::string_view address = take_word(line);
    if (!IpAddress::parse(address.substr(0, std::min(address.find('%'), address.size())))) {
        kind = Kind::bad;
        mistake = "expected an address and names, found " + quote(address);
        return;
    }
    kind = Kind::ignored;
    for (std::string_view name = take_word(line); !name.empty(); name = take_word(line)) {
        // localhost and its like are what such files begin with.
        if (name.find('.') == name.npos || ends_in_number(name) || name == "localhost.localdomain") continue;
        if (!add(name, NameReach::exact)) return names.clear();
    }
    if (!names.empty()) kind = Kind::names;
}

void ListLine::read_adblock(std::string_view line) {
    const bool is_hash_comment = line == "#" || line.starts_with("# ") || line.starts_with("####");
    if (line.starts_with('!') || line.starts_with('[') || is_hash_comment) return;
    kind = Kind::ignored;
    NameReach reach = NameReach::subtree;
    if (line.starts_with("@@")) {
        reach = NameReach::except;
        line.remove_prefix(2);
    }
    if (!line.starts_with("||")) return;
    line.remove_prefix(2);
    const std::size_t end = line.find('^');
    if (end == line.npos) return;
    std::string_view rest = line.substr(end + 1);
    if (rest.starts_with('|')) rest.remove_prefix(1);
    if (!rest.empty() && (!rest.starts_with('$') || !are_harmless_options(rest.substr(1)))) return;
    const std::string_view name = line.substr(0, end);
    if (name.empty() || name.find_first_of("*/:?=&") != name.npos || ends_in_number(name)) return;
    // A name that is none is as good as any rule that is not for us.
    if (add(name, reach)) {
        kind = Kind::names;
    } else {
        kind = Kind::ignored;
    }
}

}  // namespace sluice::policy
