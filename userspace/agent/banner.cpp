#include "userspace/agent/banner.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "userspace/agent/first_bytes.h"

namespace sluice::agent {
namespace {

using policy::Protocol;

enum class Match : std::uint8_t { no, incomplete, yes };

Match starts_with(std::string_view seen, std::string_view prefix) {
    if (seen.starts_with(prefix)) return Match::yes;
    return prefix.starts_with(seen) ? Match::incomplete : Match::no;
}

// A word, and what must follow it.
Match is_word(std::string_view seen, std::string_view word) {
    const Match match = starts_with(seen, word);
    if (match != Match::yes) return match;
    if (seen.size() == word.size()) return Match::incomplete;
    return std::string_view(" \r\n").contains(seen[word.size()]) ? Match::yes : Match::no;
}

Match any(std::initializer_list<Match> matches) {
    return std::ranges::max(matches);
}

// RFC 3501 7.1, RFC 1939 3.
Match is_imap(std::string_view seen) {
    return any({is_word(seen, "* OK"), is_word(seen, "* PREAUTH"), is_word(seen, "* BYE")});
}
Match is_pop3(std::string_view seen) {
    return any({is_word(seen, "+OK"), is_word(seen, "-ERR")});
}

// RFC 6143 7.1.1: "RFB 003.008\n".
Match is_rfb(std::string_view seen) {
    constexpr std::string_view shape = "RFB 000.000\n";
    for (std::size_t i = 0; i < std::min(shape.size(), seen.size()); ++i) {
        const bool is_digit = seen[i] >= '0' && seen[i] <= '9';
        if (shape[i] == '0' ? !is_digit : seen[i] != shape[i]) return Match::no;
    }
    return seen.size() < shape.size() ? Match::incomplete : Match::yes;
}

// RFC 854: a negotiation, IAC and WILL, WONT, DO or DONT.
Match is_telnet(std::string_view seen) {
    if (seen[0] != '\xff') return Match::no;
    if (seen.size() < 2) return Match::incomplete;
    return static_cast<unsigned char>(seen[1]) >= 0xfb && seen[1] != '\xff' ? Match::yes : Match::no;
}

// dev.mysql.com, "Protocol::HandshakeV10" and "ERR_Packet": a packet's length in three bytes, its number 0,
// then 10 and the server's version, which a NUL ends; or 0xff and an error's number.
Match is_mysql(std::string_view seen) {
    constexpr std::size_t header = 4;
    constexpr std::size_t version_bytes_max = 64;
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(seen[i]); };
    if ((seen.size() > 2 && byte(2) != 0) || (seen.size() > 3 && byte(3) != 0)) return Match::no;
    if (seen.size() >= 2 && (byte(1) > 1 || (byte(1) == 0 && byte(0) < header))) return Match::no;
    if (seen.size() <= header) return Match::incomplete;
    if (byte(header) == 0xff) {
        if (seen.size() < header + 3) return Match::incomplete;
        const unsigned number = byte(header + 1) | byte(header + 2) << 8;
        return number >= 1000 && number < 10000 ? Match::yes : Match::no;
    }
    if (byte(header) != 10) return Match::no;
    const std::string_view version = seen.substr(header + 1, version_bytes_max);
    const auto end = std::ranges::find_if(version, [](char c) { return c < 0x20 || c > 0x7e; });
    if (end != version.end()) return *end == '\0' && end != version.begin() ? Match::yes : Match::no;
    return version.size() < version_bytes_max ? Match::incomplete : Match::no;
}

bool contains_word(std::string_view text, std::string_view part) {
    const auto same = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; };
    return !std::ranges::search(text, part, same).empty();
}

// A host's name, which may be called ftp.example.com and be none, is not counted among the words.
bool says(std::string_view lines, std::string_view part) {
    constexpr std::string_view separators = " \t\r\n()[]<>*";
    while (!lines.empty()) {
        const std::string_view word = lines.substr(0, lines.find_first_of(separators));
        if (!word.contains('.') && contains_word(word, part)) return true;
        lines.remove_prefix(std::min(word.size() + 1, lines.size()));
    }
    return false;
}

// Of a reply with one of the codes that such servers greet with, in the lines there are so far.
std::optional<Protocol> mail_or_files(std::string_view lines, std::uint16_t port) {
    constexpr std::array<std::uint16_t, 6> smtp_ports{24, 25, 26, 465, 587, 2525};
    constexpr std::array<std::uint16_t, 3> ftp_ports{21, 990, 2121};
    const auto has = [port](const auto& ports) { return std::ranges::find(ports, port) != ports.end(); };
    const bool mail = says(lines, "smtp") || says(lines, "lmtp");
    const bool files = says(lines, "ftp");
    if (mail != files) return mail ? Protocol::smtp : Protocol::ftp;
    if (has(smtp_ports)) return Protocol::smtp;
    if (has(ftp_ports)) return Protocol::ftp;
    if (mail) return Protocol::smtp;
    return std::nullopt;
}

bool says_either(std::string_view lines) {
    return says(lines, "smtp") || says(lines, "lmtp") || says(lines, "ftp");
}

// RFC 5321 4.2 and RFC 959 4.2: the reply's whole lines, with a '-' behind the code in each but the last, so
// far as they have come. `ends`: the last one has.
std::string_view reply_lines(std::string_view seen, bool& ends) {
    std::size_t length = 0;
    ends = false;
    for (std::size_t end = seen.find('\n'); end != seen.npos && !ends; end = seen.find('\n', length)) {
        const std::string_view line = seen.substr(length, end + 1 - length);
        ends = line.starts_with(seen.substr(0, 3)) && line.substr(3, 1) != "-";
        length = end + 1;
    }
    return seen.substr(0, length);
}

// Incomplete when more lines could tell; `is_all`: there are none.
Match is_reply(std::string_view seen, std::uint16_t port, bool is_all, Protocol& protocol) {
    const auto code = [&](std::string_view text) { return starts_with(seen, text); };
    const Match match = any({code("220"), code("120"), code("421"), code("554")});
    if (match != Match::yes) return match;
    if (seen.size() > 3 && seen[3] != ' ' && seen[3] != '-') return Match::no;
    bool ends = false;
    std::string_view known = reply_lines(seen, ends);
    if (!ends && !says_either(known)) {
        if (!is_all) return Match::incomplete;
        known = seen;
    }
    const auto found = mail_or_files(known.substr(std::min<std::size_t>(3, known.size())), port);
    protocol = found.value_or(Protocol::server_first);
    return Match::yes;
}

// RFC 4253 4.2: other lines may come before the version.
std::string_view ssh_line(std::string_view seen) {
    if (seen.starts_with("SSH-")) return seen;
    const std::size_t line = seen.find("\nSSH-");
    return line == seen.npos ? std::string_view() : seen.substr(line + 1);
}

std::span<const std::uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

}  // namespace

std::optional<Banner> read_banner(std::span<const std::uint8_t> bytes, std::uint16_t port, bool is_all) {
    if (bytes.empty()) return is_all ? std::optional<Banner>(Banner{}) : std::nullopt;
    const std::string_view seen(reinterpret_cast<const char*>(bytes.data()),
                                std::min(bytes.size(), banner_bytes_max));
    is_all = is_all || bytes.size() >= banner_bytes_max;
    if (const std::string_view line = ssh_line(seen); !line.empty()) {
        auto version = read_ssh_version(bytes_of(line));
        if (!version && is_all) version = std::string(line.substr(4));
        if (!version) return std::nullopt;
        return Banner{Protocol::ssh, std::move(*version)};
    }
    Protocol by_reply = Protocol::server_first;
    const std::array matches{
        std::pair{is_reply(seen, port, is_all, by_reply), by_reply},
        std::pair{is_imap(seen), Protocol::imap},
        std::pair{is_pop3(seen), Protocol::pop3},
        std::pair{is_rfb(seen), Protocol::rfb},
        std::pair{is_telnet(seen), Protocol::telnet},
        std::pair{is_mysql(seen), Protocol::mysql},
        std::pair{starts_with(seen, "SSH-"), Protocol::ssh},
    };
    for (const auto& [match, protocol] : matches) {
        if (match == Match::yes) return Banner{protocol, {}};
    }
    const bool undecided =
        std::ranges::any_of(matches, [](const auto& entry) { return entry.first == Match::incomplete; });
    if (undecided && !is_all) return std::nullopt;
    return Banner{};
}

}  // namespace sluice::agent
