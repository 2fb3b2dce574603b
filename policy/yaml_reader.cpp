#include "policy/yaml_reader.h"

#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "policy/quote.h"

namespace sluice::policy {
namespace {

std::string location(std::string_view file, int line, int column) {
    std::string text(file);
    if (line > 0) text += ":" + std::to_string(line) + ":" + std::to_string(column);
    return text;
}

std::string join(std::span<const std::string_view> words) {
    std::string text;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
        text += words[i];
    }
    return text;
}

// Levenshtein's distance.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j)
        row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row[b.size()];
}

// What yaml-cpp lets pass but must not: it takes byte 0x04 for the end of the file, silently, and it reports
// tabs in the indentation as something else.
void check_bytes(const std::string& file, const std::string& text) {
    int line = 1;
    int column = 1;
    bool indentation = true;
    for (char c : text) {
        if (c == '\n') {
            ++line;
            column = 1;
            indentation = true;
            continue;
        }
        if (c == '\t' && indentation) {
            throw FileError(file, line, column, "expected spaces as indentation, found a tab");
        }
        bool control = (c >= 0 && c < 0x20 && c != '\t' && c != '\r') || c == 0x7f;
        if (control)
            throw FileError(file, line, column, "expected text, found control byte " + quote({&c, 1}));
        indentation = indentation && c == ' ';
        ++column;
    }
}

// Notes where each document begins, and nothing else.
class DocumentStarts : public YAML::EventHandler {
  public:
    std::vector<YAML::Mark> marks;

    void OnDocumentStart(const YAML::Mark& mark) override { marks.push_back(mark); }
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
    void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
    void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
    void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                         YAML::EmitterStyle::value) override {}
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                    YAML::EmitterStyle::value) override {}
    void OnMapEnd() override {}
};

// Where the first and, if there is one, the second document begin. Not YAML::LoadAll(): at a stray comma
// yaml-cpp 0.7 returns one empty document after the other, without end.
std::vector<YAML::Mark> document_starts(const std::string& text) {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    DocumentStarts starts;
    while (starts.marks.size() < 2 && parser.HandleNextDocument(starts)) {
    }
    return starts.marks;
}

YAML::Node load(const std::string& file, const std::string& text) {
    try {
        std::vector<YAML::Mark> starts = document_starts(text);
        if (starts.empty()) throw FileError(file, 1, 1, "expected a mapping, found an empty file");
        if (starts.size() > 1) {
            throw FileError(file, starts[1].line + 1, starts[1].column + 1,
                            "expected one document, found more after it");
        }
        return YAML::Load(text);
    } catch (const YAML::Exception& error) {
        std::string hint;
        if (error.msg.starts_with(YAML::ErrorMsg::INVALID_ESCAPE))
            hint = "; put backslashes in single quotes";
        throw FileError(file, error.mark.line + 1, error.mark.column + 1,
                        "expected well-formed YAML, found a mistake (" + error.msg + ")" + hint);
    }
}

}  // namespace

FileError::FileError(std::string_view file, int line, int column, std::string_view message)
    : std::runtime_error(location(file, line, column) + ": error: " + std::string(message)) {}

YamlReader::YamlReader(std::shared_ptr<const std::string> file, YAML::Node node, YAML::Mark mark)
    : file_(std::move(file)), node_(node), line_(mark.line + 1), column_(mark.column + 1) {}

YamlReader YamlReader::parse(const std::string& file, const std::string& text) {
    check_bytes(file, text);
    YAML::Node document = load(file, text);
    return YamlReader(std::make_shared<const std::string>(file), document, document.Mark());
}

YamlReader YamlReader::below(const YAML::Node& node, YAML::Mark key) const {
    // The mark of a value that is not there is that of whatever comes next.
    YamlReader reader(file_, node, node.IsNull() ? key : node.Mark());
    // A tag asks for a meaning (!include, !!binary) that nobody here gives it. "?" and "!" are yaml-cpp's own
    // words for plain and for quoted.
    const std::string& tag = node.Tag();
    if (!tag.empty() && tag != "?" && tag != "!") reader.fail("expected no tag, found " + quote(tag));
    return reader;
}

void YamlReader::fail(std::string_view sentence) const {
    throw FileError(*file_, line_, column_, sentence);
}

void YamlReader::fail_expecting(std::string_view wanted) const {
    fail("expected " + std::string(wanted) + ", found " + found());
}

std::string YamlReader::found() const {
    if (node_.IsScalar()) return quote(node_.Scalar());
    if (node_.IsSequence()) return node_.size() == 0 ? "an empty list" : "a list";
    return node_.IsMap() ? "a mapping" : "nothing";
}

bool YamlReader::is_mapping() const {
    return node_.IsMap();
}

bool YamlReader::is_scalar() const {
    return node_.IsScalar();
}

std::string YamlReader::text(std::string_view wanted) const {
    if (!node_.IsScalar()) fail_expecting(wanted);
    return node_.Scalar();
}

bool YamlReader::flag() const {
    constexpr std::string_view wanted = "true or false";
    std::string value = text(wanted);
    if (value != "true" && value != "false") fail_expecting(wanted);
    return value == "true";
}

std::uint64_t YamlReader::number(std::uint64_t min, std::uint64_t max) const {
    std::string wanted = "a number from " + std::to_string(min) + " to " + std::to_string(max);
    std::string value = text(wanted);
    bool hexadecimal = value.starts_with("0x");
    const char* begin = value.data() + (hexadecimal ? 2 : 0);
    const char* end = value.data() + value.size();
    std::uint64_t number = 0;
    auto [stop, error] = std::from_chars(begin, end, number, hexadecimal ? 16 : 10);
    if (error != std::errc() || stop != end || number < min || number > max) fail_expecting(wanted);
    return number;
}

std::size_t YamlReader::word(std::span<const std::string_view> words) const {
    std::string wanted = join(words);
    auto found = std::ranges::find(words, text(wanted));
    if (found == words.end()) fail_expecting(wanted);
    return static_cast<std::size_t>(found - words.begin());
}

std::vector<YamlReader> YamlReader::entries(std::string_view wanted) const {
    if (node_.IsScalar()) return {*this};
    // An empty list would hold for every flow: hardly what it looks like.
    if (!node_.IsSequence() || node_.size() == 0) fail_expecting(std::string(wanted) + ", or a list of them");
    std::vector<YamlReader> readers;
    for (const YAML::Node& entry : node_)
        readers.push_back(below(entry, node_.Mark()));
    return readers;
}

std::vector<YamlReader> YamlReader::mappings(std::string_view wanted) const {
    if (!node_.IsSequence()) fail_expecting(wanted);
    std::vector<YamlReader> readers;
    for (const YAML::Node& entry : node_)
        readers.push_back(below(entry, node_.Mark()));
    return readers;
}

std::vector<std::pair<YamlReader, YamlReader>> YamlReader::pairs(std::string_view wanted) const {
    if (!node_.IsMap()) fail_expecting(wanted);
    std::vector<std::pair<YamlReader, YamlReader>> pairs;
    std::vector<std::string> seen;
    for (const auto& pair : node_) {
        YamlReader key = below(pair.first, pair.first.Mark());
        std::string text = key.text("a key");
        if (std::ranges::find(seen, text) != seen.end()) {
            key.fail("expected each key once, found " + quote(text) + " again");
        }
        seen.push_back(std::move(text));
        pairs.emplace_back(std::move(key), below(pair.second, pair.first.Mark()));
    }
    return pairs;
}

std::string YamlReader::suggestion(std::string_view word, Keys names) {
    constexpr std::size_t typos_max = 2;
    if (word.size() > 64) return "";
    auto nearest =
        std::ranges::min_element(names, {}, [&](auto known) { return edit_distance(word, known); });
    if (nearest == names.end() || edit_distance(word, *nearest) > typos_max) return "";
    return " (did you mean " + std::string(*nearest) + "?)";
}

YamlMapping YamlReader::mapping(std::string_view wanted, std::initializer_list<std::string_view> keys) const {
    return mapping(wanted, Keys(keys.begin(), keys.size()));
}

YamlMapping YamlReader::mapping(std::string_view wanted, Keys keys) const {
    if (!node_.IsMap()) fail_expecting(wanted);
    YamlMapping mapping(*this, std::string(wanted));
    mapping.add_pairs(*this, keys, false);
    return mapping;
}

// `merged`: the pairs come from a merge key, and a key that is there already wins (YAML merge key type,
// 2005).
void YamlMapping::add_pairs(const YamlReader& from, Keys keys, bool merged) {
    std::vector<std::string> seen;
    std::optional<YamlReader> base;
    for (const auto& pair : from.node_) {
        YamlReader key_reader = from.below(pair.first, pair.first.Mark());
        std::string key = key_reader.text("a key");
        if (std::ranges::find(seen, key) != seen.end()) {
            key_reader.fail("expected each key once, found " + quote(key) + " again");
        }
        seen.push_back(key);
        YamlReader value = from.below(pair.second, pair.first.Mark());
        if (key == "<<" && !merged) {
            base = value;
        } else if (std::ranges::find(keys, key) == keys.end()) {
            key_reader.fail("expected " + join(keys) + ", found " + quote(key) +
                            YamlReader::suggestion(key, keys));
        } else if (find(key) == nullptr) {
            entries_.emplace_back(std::move(key), std::move(value));
        }
    }
    if (base) merge(*base, keys);
}

void YamlMapping::merge(const YamlReader& from, Keys keys) {
    constexpr std::string_view wanted = "a mapping, or a list of them, to merge";
    std::vector<YamlReader> bases{from};
    if (!from.is_mapping()) bases = from.mappings(wanted);
    for (const YamlReader& base : bases) {
        if (!base.is_mapping()) base.fail_expecting(wanted);
        add_pairs(base, keys, true);
    }
}

const YamlReader* YamlMapping::find(std::string_view key) const {
    auto entry = std::ranges::find(entries_, key, &std::pair<std::string, YamlReader>::first);
    return entry == entries_.end() ? nullptr : &entry->second;
}

const YamlReader& YamlMapping::at(std::string_view key) const {
    const YamlReader* value = find(key);
    if (value == nullptr) {
        self_.fail("expected " + std::string(key) + ": in " + wanted_ + ", found none");
    }
    return *value;
}

}  // namespace sluice::policy
