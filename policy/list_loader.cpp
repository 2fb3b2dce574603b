// load_lists(): from the files that the policy names to a ListCatalog.
#include <malloc.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "policy/list_catalog.h"
#include "policy/list_condition.h"
#include "policy/list_text.h"
#include "policy/name_set_builder.h"
#include "policy/quote.h"
#include "policy/yaml_reader.h"

namespace sluice::policy {
namespace {

namespace fs = std::filesystem;

// A list with more bad lines than one in ten is hardly of the format that it should be of.
constexpr std::uint64_t bad_share = 10;
// What a list may lose before it is taken for broken.
constexpr std::uint64_t shrink_share = 2;
constexpr std::uint64_t bad_lines_told = 3;  // of each file

std::string warning(const std::string& path, int line, std::string_view text) {
    return path + (line > 0 ? ":" + std::to_string(line) : "") + ": warning: " + std::string(text);
}

// Size and time of the file that `info` names. The error is errno's.
int look_at_file(ListInfo& info) {
    std::error_code error;
    const auto status = fs::status(info.path, error);
    if (error) return error.value();
    if (!fs::is_regular_file(status)) return fs::is_directory(status) ? EISDIR : EINVAL;
    info.file_bytes = fs::file_size(info.path, error);
    if (error) return error.value();
    info.modified_ns = fs::last_write_time(info.path, error).time_since_epoch().count();
    return error.value();
}

// CATEGORY/domains, perhaps packed.
std::optional<std::string> domains_of(const fs::path& category) {
    for (const char* name : {"domains", "domains.gz", "domains.xz"}) {
        std::error_code error;
        if (fs::is_regular_file(category / name, error)) return category / name;
    }
    return std::nullopt;
}

std::vector<ListInfo> categories_of(const ListSource& source, const std::string& path) {
    std::vector<ListInfo> lists;
    std::error_code error;
    for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
        const std::string category = at->path().filename();
        const auto domains = domains_of(at->path());
        if (!domains || !is_list_label(category) || category == uncategorized_category) continue;
        lists.push_back(
            {.list = source.name, .category = category, .format = source.format, .path = *domains});
    }
    // UT1 has the same category under two names, one a link to the other: both are kept.
    std::ranges::sort(lists, {}, &ListInfo::category);
    return lists;
}

class Loader {
  public:
    Loader(const ListSources& sources, const ListCatalog* last) : sources_(sources), last_(last) {}

    LoadedLists load(std::vector<ListInfo> files) {
        std::vector<ListInfo> found = files;
        for (ListInfo& file : files)
            load_one(std::move(file));
        keep_what_vanished();
        for (const ListSource& source : sources_.lists) {
            if (std::ranges::find(lists_, source.name, &ListInfo::list) != lists_.end()) continue;
            throw FileError(sources_.file, source.line, source.column,
                            "expected a folder with CATEGORY/domains in it for list " + quote(source.name) +
                                ", found none in " + quote(source.path));
        }
        keep_names();
        NameSet names = builder_.build(ListCatalog::notes_of(lists_));
        return {std::make_shared<const ListCatalog>(std::move(lists_), std::move(names)),
                std::move(warnings_), std::move(found)};
    }

  private:
    std::optional<std::size_t> find_last(const ListInfo& info) const {
        if (last_ == nullptr) return std::nullopt;
        for (std::size_t i = 0; i < last_->lists().size(); ++i) {
            if ((*last_)[i].is_same_list(info)) return i;
        }
        return std::nullopt;
    }

    std::size_t add(ListInfo info) {
        if (lists_.size() == lists_max) {
            throw FileError(sources_.file, 0, 0,
                            "expected at most " + std::to_string(lists_max) +
                                " lists (each category of a folder is one), found more");
        }
        lists_.push_back(std::move(info));
        return lists_.size() - 1;
    }

    void load_one(ListInfo info) {
        const auto last = find_last(info);
        if (last && (*last_)[*last].is_same_file(info)) return keep(*last);
        const NameSetBuilder::Mark mark = builder_.mark();
        const std::size_t warnings = warnings_.size();
        const std::size_t number = add(std::move(info));
        try {
            read(number);
            const ListInfo& fresh = lists_[number];
            if (last && fresh.names < (*last_)[*last].names / shrink_share) {
                throw FileError(fresh.path, 0, 0,
                                "expected at least half of the former " +
                                    std::to_string((*last_)[*last].names) + " names, found " +
                                    std::to_string(fresh.names));
            }
        } catch (const FileError& error) {
            if (!last) throw;
            builder_.forget_since(mark);
            warnings_.resize(warnings);
            lists_.pop_back();
            warnings_.push_back(std::string(error.what()) + "; the last good one is kept");
            keep(*last);
        }
    }

    // Keeps a list of the last catalog as it was.
    void keep(std::size_t last) { kept_.emplace_back(last, add((*last_)[last])); }

    // A category whose folder is gone has lost more than half of its names.
    void keep_what_vanished() {
        if (last_ == nullptr) return;
        for (std::size_t i = 0; i < last_->lists().size(); ++i) {
            const ListInfo& info = (*last_)[i];
            const auto source = std::ranges::find(sources_.lists, info.list, &ListSource::name);
            if (source == sources_.lists.end() || source->format != info.format) continue;
            if (info.format != ListFormat::ut1) continue;
            if (std::ranges::any_of(lists_, [&](const ListInfo& list) { return list.is_same_list(info); }))
                continue;
            warnings_.push_back(warning(info.path, 0, "the file is gone; the last good one is kept"));
            keep(i);
        }
    }

    void keep_names() {
        if (kept_.empty()) return;
        std::vector<std::optional<std::size_t>> number_of(lists_max);
        for (const auto& [last, number] : kept_)
            number_of[last] = number;
        last_->names().for_each([&](std::string_view name, const NameSources& sources) {
            const auto add_all = [&](const ListSet& lists, NameReach reach) {
                lists.for_each([&](std::size_t list) {
                    if (number_of[list]) builder_.add(name, *number_of[list], reach);
                });
            };
            add_all(sources.subtree, NameReach::subtree);
            add_all(sources.exact, NameReach::exact);
            add_all(sources.except, NameReach::except);
        });
    }

    // Where the policy file asks for that list: the mistake may be there.
    [[noreturn]] void fail_to_read(const ListInfo& info, int error) const {
        const auto source = std::ranges::find(sources_.lists, info.list, &ListSource::name);
        throw FileError(sources_.file, source->line, source->column,
                        "expected a readable list, found " + quote(info.path) + ": " + std::strerror(error));
    }

    void read(std::size_t number) {
        ListInfo& info = lists_[number];
        if (const int error = look_at_file(info); error != 0) fail_to_read(info, error);
        std::ifstream stream(info.path, std::ios::binary);
        if (!stream) fail_to_read(info, errno);
        ListText text(stream, info.path);
        int first_bad = 0;
        std::string first_mistake;
        for (std::string_view line;;) {
            const ListText::Next next = text.next(line);
            if (next == ListText::Next::end) break;
            if (next == ListText::Next::too_long) {
                line_.kind = ListLine::Kind::bad;
                line_.mistake = "expected a line of at most 4096 bytes, found a longer one";
            } else {
                line_.read(info.format, line);
            }
            switch (line_.kind) {
                case ListLine::Kind::nothing:
                    break;
                case ListLine::Kind::ignored:
                    ++info.ignored;
                    break;
                case ListLine::Kind::names:
                    for (const ListLine::Name& name : line_.names) {
                        builder_.add(name.text, number, name.reach);
                        ++info.names;
                    }
                    break;
                case ListLine::Kind::bad:
                    if (info.bad++ == 0) {
                        first_bad = text.line_number();
                        first_mistake = line_.mistake;
                    }
                    if (info.bad <= bad_lines_told)
                        warnings_.push_back(warning(info.path, text.line_number(), line_.mistake));
            }
        }
        if (info.bad * bad_share > info.names + info.bad)
            throw FileError(info.path, first_bad, 1, first_mistake + describe_bad(info));
        if (info.names == 0 && info.ignored > 0)
            throw FileError(
                info.path, 0, 0,
                "expected names in a list, found " + std::to_string(info.ignored) + " lines of other things");
        if (info.bad > bad_lines_told) {
            warnings_.push_back(
                warning(info.path, 0, std::to_string(info.bad) + " lines in all are not understood"));
        }
    }

    static std::string describe_bad(const ListInfo& info) {
        return "; " + std::to_string(info.bad) + " lines are not of format " +
               std::string(to_string(info.format)) + ", beside " + std::to_string(info.names) + " names";
    }

    const ListSources& sources_;
    const ListCatalog* last_;
    NameSetBuilder builder_;
    std::vector<ListInfo> lists_;
    std::vector<std::pair<std::size_t, std::size_t>> kept_;  // number before, number now
    std::vector<std::string> warnings_;
    ListLine line_;
};

}  // namespace

std::vector<ListInfo> list_files(const ListSources& sources) {
    const fs::path folder = fs::path(sources.file).parent_path();
    std::vector<ListInfo> files;
    for (const ListSource& source : sources.lists) {
        const std::string path = folder / source.path;
        if (source.format == ListFormat::ut1) {
            std::ranges::move(categories_of(source, path), std::back_inserter(files));
        } else {
            files.push_back(
                {.list = source.name, .category = source.category, .format = source.format, .path = path});
        }
    }
    for (ListInfo& info : files)
        look_at_file(info);  // what cannot be read is told when it is read
    return files;
}

bool are_same_files(const std::vector<ListInfo>& left, const std::vector<ListInfo>& right) {
    return std::ranges::equal(left, right,
                              [](const ListInfo& a, const ListInfo& b) { return a.is_same_file(b); });
}

LoadedLists load_lists(const ListSources& sources, const ListCatalog* last, bool use_prepared) {
    std::vector<ListInfo> files = list_files(sources);
    std::vector<std::string> warnings;
    std::shared_ptr<const ListCatalog> prepared;
    if (last == nullptr && use_prepared && !sources.prepared.empty()) {
        const std::string path = fs::path(sources.file).parent_path() / sources.prepared;
        try {
            prepared = std::make_shared<const ListCatalog>(ListCatalog::load(path));
            if (are_same_files(prepared->lists(), files)) return {prepared, {}, std::move(files)};
            last = prepared.get();
        } catch (const FileError& error) {
            warnings.push_back(std::string(error.what()) + "; the lists are read instead");
        }
    }
    try {
        LoadedLists loaded = Loader(sources, last).load(std::move(files));
        ::malloc_trim(0);  // of what building took glibc would keep some 20 MB
        loaded.warnings.insert(loaded.warnings.begin(), warnings.begin(), warnings.end());
        return loaded;
    } catch (const NameSetFull& full) {
        throw FileError(sources.file, 0, 0, full.what());
    }
}

}  // namespace sluice::policy
