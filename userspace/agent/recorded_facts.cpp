#include "userspace/agent/recorded_facts.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "policy/server_name.h"
#include "userspace/datapath/flow_endpoint.h"

namespace sluice::agent {
namespace {

constexpr std::string_view nothing = "-";

bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._/:[]").contains(c);
}

void append_escaped(std::string& out, std::string_view text) {
    constexpr std::string_view digits = "0123456789abcdef";
    for (const char c : text) {
        if (is_plain(c)) {
            out += c;
            continue;
        }
        const auto byte = static_cast<unsigned char>(c);
        out += '%';
        out += digits[byte >> 4];
        out += digits[byte & 15];
    }
}

std::optional<std::string> unescaped(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            if (!is_plain(text[i])) return std::nullopt;
            out += text[i];
            continue;
        }
        unsigned byte = 0;
        if (text.size() - i < 3) return std::nullopt;
        const auto [end, error] = std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16);
        if (error != std::errc() || end != text.data() + i + 3) return std::nullopt;
        out += static_cast<char>(byte);
        i += 2;
    }
    return out;
}

void append_field(std::string& out, std::string_view key, std::string_view value) {
    if (value.empty()) return;
    out.append(out.empty() ? "" : " ").append(key).append("=");
    append_escaped(out, value);
}

// The part of `rest` before `separator`, which goes with it.
std::string_view take(std::string_view& rest, char separator) {
    const std::size_t end = std::min(rest.find(separator), rest.size());
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return part;
}

template <std::size_t N>
std::string_view text_of(const char (&field)[N]) {
    return {field, ::strnlen(field, N)};
}

template <typename Word, std::size_t N>
bool read_word(std::string_view text, const std::array<std::string_view, N>& words, Word& word) {
    const auto found = std::ranges::find(words, text);
    if (found == words.end()) return false;
    word = static_cast<Word>(found - words.begin());
    return true;
}

}  // namespace

std::string facts_text(const policy::Facts& facts) {
    std::string text;
    // First, where PacketTable looks for it.
    if (facts.via != policy::Via::captured) append_field(text, "to", facts.destination.to_string());
    if (facts.is_malformed()) append_field(text, "began_as", policy::to_string(facts.began_as));
    if (facts.ech != policy::Ech::none) append_field(text, "ech", policy::to_string(facts.ech));
    if (facts.mac) append_field(text, "mac", facts.mac->to_string());
    append_field(text, "ja4", facts.ja4);
    append_field(text, "ssh_version", facts.ssh_version);
    if (facts.via != policy::Via::captured) append_field(text, "via", policy::to_string(facts.via));
    if (!facts.asked_name.empty())
        append_field(text, "asked", facts.asked_name == facts.server_name ? nothing : facts.asked_name);
    append_field(text, "ssh_server_version", facts.ssh_server_version);
    if (facts.to_come != policy::ToCome::nothing)
        append_field(text, "to_come", policy::to_string(facts.to_come));
    if (facts.has_started_tls) append_field(text, "tls", "started");
    if (facts.client_was_silent) append_field(text, "client", "silent");
    if (!facts.alpn.empty()) {
        text.append(text.empty() ? "" : " ").append("alpn=");
        for (const std::string& protocol : facts.alpn) {
            if (&protocol != facts.alpn.data()) text += ',';
            append_escaped(text, protocol);
        }
    }
    if (text.empty()) return std::string(nothing);
    return text.size() < FLOW_FACTS_BYTES ? text : std::string();
}

std::optional<RecordedFacts> RecordedFacts::read(const flow_record& record) {
    RecordedFacts known;
    if (record.protocol >= policy::protocol_words.size()) return std::nullopt;
    known.plain_.source = datapath::endpoint(record.source);
    known.plain_.destination = datapath::endpoint(record.destination);
    known.plain_.protocol = static_cast<policy::Protocol>(record.protocol);
    if (known.plain_.protocol == policy::Protocol::unknown) return std::nullopt;
    if (!known.read_text(text_of(record.facts))) return std::nullopt;
    // An address in a name's place is no name, and neither is what a malformed hello holds.
    const std::string_view name = text_of(record.server_name);
    const auto canonical = policy::canonical_server_name(name);
    const bool is_address = policy::IpAddress::parse(name).has_value();
    if (canonical && !is_address && !known.plain_.is_malformed()) known.server_name_ = *canonical;
    if (known.asked_name_ == nothing) known.asked_name_ = canonical.value_or("");
    return known;
}

Arrival arrival_of(const flow_record& record) {
    Arrival arrival;
    std::string_view text = text_of(record.facts);
    while (!text.empty()) {
        std::string_view field = take(text, ' ');
        const std::string_view key = take(field, '=');
        const std::string value = unescaped(field).value_or("");
        if (key == "via") read_word(value, policy::via_words, arrival.via);
        if (key == "asked") arrival.asked_name = value == nothing ? text_of(record.server_name) : value;
    }
    return arrival;
}

bool RecordedFacts::read_text(std::string_view text) {
    if (text.empty()) return false;
    if (text == nothing) return true;
    while (!text.empty()) {
        std::string_view field = take(text, ' ');
        const std::string_view key = take(field, '=');
        if (!read_field(key, field)) return false;
    }
    return true;
}

bool RecordedFacts::read_field(std::string_view key, std::string_view value) {
    if (key == "alpn") {
        for (bool goes_on = true; goes_on;) {
            goes_on = value.contains(',');  // the last may be empty
            auto protocol = unescaped(take(value, ','));
            if (!protocol) return false;
            alpn_.push_back(std::move(*protocol));
        }
        return true;
    }
    auto text = unescaped(value);
    if (!text) return false;
    if (key == "began_as") return read_word(*text, policy::protocol_words, plain_.began_as);
    if (key == "to_come") return read_word(*text, policy::to_come_words, plain_.to_come);
    if (key == "tls") return plain_.has_started_tls = *text == "started";
    if (key == "client") return plain_.client_was_silent = *text == "silent";
    if (key == "ech") return read_word(*text, policy::ech_words, plain_.ech);
    if (key == "to") return true;  // the record's destination
    if (key == "via") return read_word(*text, policy::via_words, plain_.via);
    if (key == "mac") return (plain_.mac = policy::MacAddress::parse(*text)).has_value();
    if (key == "asked")
        asked_name_ = std::move(*text);
    else if (key == "ja4")
        ja4_ = std::move(*text);
    else if (key == "ssh_version")
        ssh_version_ = std::move(*text);
    else if (key == "ssh_server_version")
        ssh_server_version_ = std::move(*text);
    else
        return false;
    return true;
}

policy::Facts RecordedFacts::facts() const {
    policy::Facts facts = plain_;
    facts.server_name = server_name_;
    facts.alpn = alpn_;
    facts.ja4 = ja4_;
    facts.ssh_version = ssh_version_;
    facts.asked_name = asked_name_;
    facts.ssh_server_version = ssh_server_version_;
    return facts;
}

}  // namespace sluice::agent
