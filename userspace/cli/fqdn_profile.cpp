#include "userspace/cli/fqdn_profile.h"

#include <algorithm>
#include <array>

#include "policy/quote.h"
#include "policy/yaml_reader.h"

namespace sluice::cli {
namespace {

using policy::FileError;
using policy::YamlReader;

constexpr std::string_view action_wanted = "Allow Log, Allow No Log, Deny Log or Deny No Log";

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
    return out;
}

// "Allow Log", "deny", ...; `log` may stand by itself: "Log", "No Log", "true", ...
std::optional<policy::Outcome> parse_outcome(std::string_view action, std::string_view log) {
    std::string text = lower(action);
    if (!log.empty()) text += " " + lower(log);
    std::ranges::replace(text, '-', ' ');
    std::ranges::replace(text, '_', ' ');
    struct Word {
        std::string_view text;
        policy::Action action;
        bool log;
    };
    using policy::Action;
    constexpr std::array words{
        Word{"allow", Action::allow, true},         Word{"deny", Action::deny, true},
        Word{"allow log", Action::allow, true},     Word{"deny log", Action::deny, true},
        Word{"allow no log", Action::allow, false}, Word{"deny no log", Action::deny, false},
        Word{"allow true", Action::allow, true},    Word{"deny true", Action::deny, true},
        Word{"allow false", Action::allow, false},  Word{"deny false", Action::deny, false},
        Word{"allow nolog", Action::allow, false},  Word{"deny nolog", Action::deny, false},
    };
    auto word = std::ranges::find(words, text, &Word::text);
    if (word == words.end()) return std::nullopt;
    return policy::Outcome{word->action, policy::DenyStyle::reset, word->log};
}

// A name, or one of the two words that stand for the last rows.
void add_name(FqdnRow& row, FqdnRow::Name name) {
    std::string word = lower(name.pcre);
    if (word == "any") {
        row.any = true;
    } else if (word == "uncategorized") {
        row.uncategorized = true;
    } else {
        row.names.push_back(std::move(name));
    }
}

void add_category(FqdnRow& row, std::string category) {
    if (lower(category) == "uncategorized") {
        row.uncategorized = true;
    } else {
        row.categories.push_back(std::move(category));
    }
}

struct Field {
    std::string text;
    int line;
    int column;
};
using Record = std::vector<Field>;

// RFC 4180; lines may end with LF alone.
class CsvReader {
  public:
    CsvReader(const std::string& file, std::string_view text) : file_(file), text_(text) {}

    std::vector<Record> read() {
        std::vector<Record> records;
        while (at_ < text_.size()) {
            Record record{read_field()};
            while (take(','))
                record.push_back(read_field());
            take('\r');
            if (at_ < text_.size() && !take('\n'))
                fail("expected a comma or the line's end after a quoted field");
            // Spreadsheets end with rows of commas.
            bool is_blank =
                std::ranges::all_of(record, [](const Field& field) { return field.text.empty(); });
            if (!is_blank) records.push_back(std::move(record));
        }
        return records;
    }

  private:
    [[noreturn]] void fail(const std::string& sentence) const {
        throw FileError(file_, line_, column_, sentence + ", found something else");
    }
    char next() {
        char c = text_[at_++];
        ++column_;
        if (c == '\n') {
            ++line_;
            column_ = 1;
        }
        return c;
    }
    bool take(char c) {
        if (at_ >= text_.size() || text_[at_] != c) return false;
        next();
        return true;
    }
    Field read_field() {
        Field field{{}, line_, column_};
        if (!take('"')) {
            while (at_ < text_.size() && text_[at_] != ',' && text_[at_] != '\n' && text_[at_] != '\r')
                field.text += next();
            return field;
        }
        while (at_ < text_.size()) {
            char c = next();
            if (c == '"' && !take('"')) return field;
            field.text += c;
        }
        throw FileError(file_, field.line, field.column,
                        "expected a quote that ends this one, found the end of the file");
    }

    const std::string& file_;
    std::string_view text_;
    std::size_t at_ = 0;
    int line_ = 1;
    int column_ = 1;
};

// Parts between spaces and semicolons. An expression may hold a comma.
std::vector<std::string> split(std::string_view text, std::string_view separators) {
    std::vector<std::string> parts;
    for (std::size_t at = text.find_first_not_of(separators); at != text.npos;
         at = text.find_first_not_of(separators, at)) {
        std::size_t end = std::min(text.find_first_of(separators, at), text.size());
        parts.emplace_back(text.substr(at, end - at));
        at = end;
    }
    return parts;
}

std::string trim(std::string_view text) {
    std::size_t begin = text.find_first_not_of(" \t");
    if (begin == text.npos) return "";
    return std::string(text.substr(begin, text.find_last_not_of(" \t") - begin + 1));
}

struct Columns {
    std::optional<std::size_t> names, categories, action, log;
};

Columns read_header(const std::string& file, const Record& header) {
    Columns columns;
    for (std::size_t i = 0; i < header.size(); ++i) {
        std::string word = lower(trim(header[i].text));
        if (word.starts_with("\xef\xbb\xbf")) word.erase(0, 3);
        std::optional<std::size_t>* column = nullptr;
        if (word == "fqdn" || word == "fqdns" || word == "pattern") column = &columns.names;
        if (word == "category" || word == "categories") column = &columns.categories;
        if (word == "action" || word == "policy") column = &columns.action;
        if (word == "log") column = &columns.log;
        if (column == nullptr || column->has_value()) {
            throw FileError(file, header[i].line, header[i].column,
                            "expected the columns fqdn, category, action and log, each at most once, found " +
                                policy::quote(header[i].text));
        }
        *column = i;
    }
    if (!columns.action || (!columns.names && !columns.categories)) {
        throw FileError(file, 1, 1,
                        "expected a first line with the columns action, and fqdn or category, found none");
    }
    return columns;
}

policy::Outcome read_outcome(const std::string& file, const Field& action, const Field& log) {
    if (const auto outcome = parse_outcome(trim(action.text), trim(log.text))) return *outcome;
    const std::string word = lower(trim(action.text));
    const bool has_log = !trim(log.text).empty();
    const bool is_log_wrong = has_log && (word == "allow" || word == "deny");
    const Field& wrong = is_log_wrong ? log : action;
    const std::string_view wanted = is_log_wrong ? "Log or No Log"
                                    : has_log    ? "Allow or Deny beside a column log"
                                                 : action_wanted;
    throw FileError(file, wrong.line, wrong.column,
                    "expected " + std::string(wanted) + ", found " + policy::quote(wrong.text));
}

FqdnRow read_record(const std::string& file, const Record& record, const Columns& columns) {
    const Field nothing{{}, record[0].line, record[0].column};
    auto field = [&](std::optional<std::size_t> column) -> const Field& {
        return column && *column < record.size() ? record[*column] : nothing;
    };
    FqdnRow row;
    const Field& names = field(columns.names);
    for (std::string& name : split(names.text, " \t\r\n;"))
        add_name(row, {std::move(name), names.line, names.column});
    for (std::string& category : split(field(columns.categories).text, "\r\n;")) {
        if (std::string word = trim(category); !word.empty()) add_category(row, std::move(word));
    }
    row.outcome = read_outcome(file, field(columns.action), field(columns.log));
    if (row.is_empty()) {
        throw FileError(file, record[0].line, record[0].column,
                        "expected a name or a category in each row, found neither");
    }
    return row;
}

FqdnProfile parse_csv(const std::string& file, const std::string& text) {
    std::vector<Record> records = CsvReader(file, text).read();
    if (records.empty()) throw FileError(file, 1, 1, "expected a table, found an empty file");
    Columns columns = read_header(file, records[0]);
    FqdnProfile profile;
    for (std::size_t i = 1; i < records.size(); ++i)
        profile.rows.push_back(read_record(file, records[i], columns));
    return profile;
}

policy::Outcome read_action(const YamlReader& value) {
    return value.parsed(action_wanted, [](const std::string& text) { return parse_outcome(text, ""); });
}

FqdnRow read_json_row(const YamlReader& value) {
    auto mapping = value.mapping("a row", {"fqdns", "categories", "action"});
    FqdnRow row;
    if (const YamlReader* names = mapping.find("fqdns")) {
        for (const YamlReader& name : names->entries("a regular expression"))
            add_name(row, {name.text("a regular expression"), name.line(), name.column()});
    }
    if (const YamlReader* categories = mapping.find("categories")) {
        for (const YamlReader& category : categories->entries("a category"))
            add_category(row, category.text("a category"));
    }
    row.outcome = read_action(mapping.at("action"));
    if (row.is_empty()) value.fail("expected a name or a category in each row, found neither");
    return row;
}

// JSON is YAML, but for few things that no such file has; and so mistakes have their place.
FqdnProfile parse_json(const std::string& file, const std::string& text) {
    auto mapping =
        YamlReader::parse(file, text).mapping("a profile", {"name", "rows", "uncategorized", "any"});
    FqdnProfile profile;
    if (const YamlReader* name = mapping.find("name")) profile.name = name->text("a name");
    for (const YamlReader& row : mapping.at("rows").mappings("a list of rows"))
        profile.rows.push_back(read_json_row(row));
    if (const YamlReader* action = mapping.find("uncategorized")) {
        profile.rows.emplace_back().uncategorized = true;
        profile.rows.back().outcome = read_action(*action);
    }
    if (const YamlReader* action = mapping.find("any")) {
        profile.rows.emplace_back().any = true;
        profile.rows.back().outcome = read_action(*action);
    }
    return profile;
}

}  // namespace

FqdnProfile parse_fqdn_profile(const std::string& file, const std::string& text) {
    std::size_t first = text.find_first_not_of(" \t\r\n");
    bool is_json = first != text.npos && text[first] == '{';
    return is_json ? parse_json(file, text) : parse_csv(file, text);
}

}  // namespace sluice::cli
