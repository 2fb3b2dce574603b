#include "userspace/text/json.h"

namespace sluice::text {
namespace {

bool is_printable(char c) {
    return c >= 0x20 && c < 0x7f;
}

}  // namespace

void append_json_string(fmt::memory_buffer& out, std::string_view value) {
    out.push_back('"');
    for (char c : value) {
        if (c == '"' || c == '\\') {
            out.push_back('\\');
            out.push_back(c);
        } else if (is_printable(c)) {
            out.push_back(c);
        } else {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(c));
        }
    }
    out.push_back('"');
}

std::string printable(std::string_view value) {
    std::string out;
    for (char c : value) {
        if (is_printable(c)) {
            out += c;
        } else {
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
    return out;
}

void JsonObject::begin(std::string_view key) {
    if (!first_) out_.push_back(',');
    first_ = false;
    append_json_string(out_, key);
    out_.push_back(':');
}

JsonObject& JsonObject::add(std::string_view key, std::string_view value) {
    begin(key);
    append_json_string(out_, value);
    return *this;
}

JsonObject& JsonObject::add(std::string_view key, bool value) {
    begin(key);
    out_.append(std::string_view(value ? "true" : "false"));
    return *this;
}

JsonObject& JsonObject::add(std::string_view key, double value) {
    begin(key);
    fmt::format_to(std::back_inserter(out_), "{:.3f}", value);
    return *this;
}

JsonObject& JsonObject::add(std::string_view key, std::span<const std::string> values) {
    begin(key);
    out_.push_back('[');
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (i > 0) out_.push_back(',');
        append_json_string(out_, values[i]);
    }
    out_.push_back(']');
    return *this;
}

}  // namespace sluice::text
