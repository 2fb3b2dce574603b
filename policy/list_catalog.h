#pragma once
// The policy's lists, read: which there are, and the one set of all their names.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "policy/list_line.h"
#include "policy/name_set.h"

namespace sluice::policy {

// A list as the policy file has it.
struct ListSource {
    std::string name;
    std::string path;  // of a file, or of a folder with format ut1; relative to the policy file's folder
    ListFormat format = ListFormat::domains;
    std::string category;  // may be empty
    int line = 0;          // in the policy file, 1-based
    int column = 0;
};

struct ListSources {
    std::string file;  // the policy file
    std::vector<ListSource> lists;
    std::string prepared;  // a file made by ListCatalog::save(); may be empty
};

// What names of lists and categories look like: 1 to 63 characters of printable ASCII.
bool is_list_label(std::string_view label);

// One file that was read: a list, or one category of a folder.
struct ListInfo {
    std::string list;
    std::string category;
    ListFormat format = ListFormat::domains;
    std::string path;
    std::int64_t modified_ns = 0;
    std::uint64_t file_bytes = 0;
    std::uint64_t names = 0;
    std::uint64_t ignored = 0;  // lines that are not for a server name
    std::uint64_t bad = 0;      // lines that are none of the format's

    bool is_same_list(const ListInfo& other) const {
        return list == other.list && category == other.category && format == other.format;
    }
    bool is_same_file(const ListInfo& other) const {
        return is_same_list(other) && path == other.path && modified_ns == other.modified_ns &&
               file_bytes == other.file_bytes;
    }
};

class ListCatalog {
  public:
    ListCatalog(std::vector<ListInfo> lists, NameSet names)
        : lists_(std::move(lists)), names_(std::move(names)) {}

    const ListInfo& operator[](std::size_t list) const { return lists_[list]; }
    const std::vector<ListInfo>& lists() const { return lists_; }
    const NameSet& names() const { return names_; }
    ListSet of_list(std::string_view name) const;
    ListSet of_category(std::string_view category) const;

    // A prepared file: the set's block, with the lists in its notes. Throws FileError.
    static ListCatalog load(const std::string& path);
    void save(const std::string& path) const;  // as a whole or not at all
    static std::vector<std::byte> notes_of(const std::vector<ListInfo>& lists);

  private:
    std::vector<ListInfo> lists_;
    NameSet names_;
};

// The files that the policy names as they are now, by size and time; nothing is read.
std::vector<ListInfo> list_files(const ListSources& sources);
bool are_same_files(const std::vector<ListInfo>& left, const std::vector<ListInfo>& right);

struct LoadedLists {
    std::shared_ptr<const ListCatalog> catalog;  // never null
    std::vector<std::string> warnings;           // one line each
    std::vector<ListInfo> files;                 // as they were found, whatever came of it
};

// Reads what has changed since `last` (null: nothing is known) or since the prepared file was made, and takes
// the rest from there. A list that cannot be read, or has less than half of its former names, stays as it
// was, with a warning; when there is no former one, FileError is thrown. `use_prepared`: false to read every
// file.
LoadedLists load_lists(const ListSources& sources, const ListCatalog* last, bool use_prepared = true);

}  // namespace sluice::policy
