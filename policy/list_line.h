#pragma once
// One line of a list, in each of the formats.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "policy/name_set.h"

namespace sluice::policy {

enum class ListFormat : std::uint8_t {
    domains,  // a name a line, with all names below it
    hosts,    // an address, then names: each alone
    adblock,  // ||name^ with all names below it, @@||name^ for an exception; other rules are ignored
    ut1,      // a folder: CATEGORY/domains, each of the format `domains`
};
inline constexpr std::array<std::string_view, 4> list_format_words{"domains", "hosts", "adblock", "ut1"};
constexpr std::string_view to_string(ListFormat format) {
    return list_format_words[static_cast<std::size_t>(format)];
}

// What a line says. Kept from line to line, so that reading allocates little.
struct ListLine {
    enum class Kind : std::uint8_t {
        nothing,  // a comment, or blank
        names,
        ignored,  // well-formed, but nothing for a server name: an address, a cosmetic rule, ...
        bad,      // `mistake` says why
    };
    struct Name {
        std::string_view text;  // canonical; points into the line, or into this object
        NameReach reach;
    };
    Kind kind = Kind::nothing;
    std::vector<Name> names;
    std::string mistake;  // "expected ..., found ..."

    void read(ListFormat format, std::string_view line);

  private:
    void read_domain(std::string_view line);
    void read_hosts(std::string_view line);
    void read_adblock(std::string_view line);
    bool add(std::string_view name, NameReach reach);  // false: bad

    static constexpr std::size_t list_line_bytes_reserved = 8192;  // twice the longest line: never moves
    std::string canonical_;
};

}  // namespace sluice::policy
