#include "policy/lists_file.h"

#include <algorithm>

#include "policy/quote.h"

namespace sluice::policy {
namespace {

// A name of a list or of a category, as the operator gives it.
std::string read_label(const YamlReader& value, std::string_view wanted) {
    std::string label = value.text(wanted);
    if (!is_list_label(label)) value.fail_expecting(wanted);
    return label;
}

ListSource read_list(const YamlReader& value) {
    YamlMapping mapping = value.mapping("a list (a mapping with name:, format: and file: or folder:)",
                                        {"name", "file", "folder", "format", "category"});
    ListSource list;
    list.line = value.line();
    list.column = value.column();
    list.name = read_label(mapping.at("name"), "a list's name: 1 to 63 characters of printable ASCII");
    list.format = static_cast<ListFormat>(mapping.at("format").word(list_format_words));
    const bool is_folder = list.format == ListFormat::ut1;
    const YamlReader* other = mapping.find(is_folder ? "file" : "folder");
    if (other != nullptr) {
        other->fail(is_folder ? "expected folder: with format: ut1, found file:"
                              : "expected file: with this format, found folder:");
    }
    const YamlReader& path = mapping.at(is_folder ? "folder" : "file");
    list.path = path.text("a path");
    if (list.path.empty() || list.path.find('\0') != list.path.npos) path.fail_expecting("a path");
    if (const YamlReader* category = mapping.find("category")) {
        if (is_folder)
            category->fail("expected no category: with format: ut1 (its folders are the categories)");
        list.category = read_label(*category, "a category: 1 to 63 characters of printable ASCII");
        if (list.category == uncategorized_category)
            category->fail("expected another category (this one is for names that no list knows), found " +
                           quote(list.category));
    }
    return list;
}

ListCondition read_list_condition(const YamlReader& value, std::string_view wanted) {
    ListCondition condition;
    for (const YamlReader& entry : value.entries(wanted))
        condition.entries.push_back({read_label(entry, wanted), entry.line(), entry.column()});
    return condition;
}

}  // namespace

std::vector<ListSource> read_lists(const YamlReader& value) {
    std::vector<ListSource> lists;
    for (const YamlReader& entry : value.mappings("a list of lists")) {
        ListSource list = read_list(entry);
        auto same = std::ranges::find(lists, list.name, &ListSource::name);
        if (same != lists.end()) {
            entry.fail("expected a name of its own for each list, found " + quote(list.name) +
                       " again (first on line " + std::to_string(same->line) + ")");
        }
        lists.push_back(std::move(list));
    }
    return lists;
}

ListCondition read_list_names(const YamlReader& value, const std::vector<ListSource>& lists) {
    ListCondition condition = read_list_condition(value, "the name of a list");
    for (const ListCondition::Entry& entry : condition.entries) {
        if (std::ranges::find(lists, entry.name, &ListSource::name) != lists.end()) continue;
        throw FileError(value.file(), entry.line, entry.column,
                        "expected the name of a list (see lists:), found " + quote(entry.name));
    }
    return condition;
}

ListCondition read_categories(const YamlReader& value, const std::vector<ListSource>& lists) {
    ListCondition condition = read_list_condition(value, "a category");
    condition.uncategorized = std::ranges::find(condition.entries, uncategorized_category,
                                                &ListCondition::Entry::name) != condition.entries.end();
    if (lists.empty()) value.fail("expected lists: in the policy for a rule with category:, found none");
    return condition;
}

}  // namespace sluice::policy
