#include "policy/list_catalog.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "policy/yaml_reader.h"

namespace sluice::policy {
namespace {

constexpr std::size_t label_characters_max = 63;
constexpr std::size_t fields = 9;  // of a list, in the notes

// Closes what it holds.
class File {
  public:
    explicit File(int fd) : fd_(fd) {}
    ~File() {
        if (fd_ >= 0) ::close(fd_);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int get() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }

  private:
    int fd_;
};

[[noreturn]] void fail(const std::string& path, std::string_view wanted) {
    throw FileError(path, 0, 0, "expected " + std::string(wanted) + ", found: " + std::strerror(errno));
}

template <typename Number>
bool read_number(std::string_view text, Number& number) {
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && stop == text.data() + text.size();
}

bool read_info(const std::vector<std::string_view>& text, std::size_t at, ListInfo& info) {
    info.list = text[at];
    info.category = text[at + 1];
    info.path = text[at + 3];
    const auto format = std::ranges::find(list_format_words, text[at + 2]);
    if (format == list_format_words.end()) return false;
    info.format = static_cast<ListFormat>(format - list_format_words.begin());
    return is_list_label(info.list) && (info.category.empty() || is_list_label(info.category)) &&
           read_number(text[at + 4], info.modified_ns) && read_number(text[at + 5], info.file_bytes) &&
           read_number(text[at + 6], info.names) && read_number(text[at + 7], info.ignored) &&
           read_number(text[at + 8], info.bad);
}

// False: these are not notes_of() any lists.
bool read_notes(std::span<const std::byte> notes, std::vector<ListInfo>& lists) {
    std::string_view rest(reinterpret_cast<const char*>(notes.data()), notes.size());
    std::vector<std::string_view> text;
    while (!rest.empty()) {
        const std::size_t end = rest.find('\0');
        if (end == rest.npos) return false;
        text.push_back(rest.substr(0, end));
        rest.remove_prefix(end + 1);
    }
    if (text.size() % fields != 0 || text.size() / fields > lists_max) return false;
    for (std::size_t at = 0; at < text.size(); at += fields) {
        if (!read_info(text, at, lists.emplace_back())) return false;
    }
    return true;
}

}  // namespace

bool is_list_label(std::string_view label) {
    return !label.empty() && label.size() <= label_characters_max &&
           std::ranges::all_of(label, [](char c) { return c >= 0x20 && c < 0x7f; });
}

ListSet ListCatalog::of_list(std::string_view name) const {
    ListSet set;
    for (std::size_t i = 0; i < lists_.size(); ++i) {
        if (lists_[i].list == name) set.add(i);
    }
    return set;
}

ListSet ListCatalog::of_category(std::string_view category) const {
    ListSet set;
    for (std::size_t i = 0; i < lists_.size(); ++i) {
        if (lists_[i].category == category) set.add(i);
    }
    return set;
}

std::vector<std::byte> ListCatalog::notes_of(const std::vector<ListInfo>& lists) {
    std::string text;
    for (const ListInfo& info : lists) {
        for (const std::string& field :
             {info.list, info.category, std::string(to_string(info.format)), info.path,
              std::to_string(info.modified_ns), std::to_string(info.file_bytes), std::to_string(info.names),
              std::to_string(info.ignored), std::to_string(info.bad)}) {
            text += field;
            text += '\0';
        }
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    return {bytes, bytes + text.size()};
}

// Read, not mapped: a file that somebody cuts off would otherwise end the process, and only memory of its own
// gets large pages.
ListCatalog ListCatalog::load(const std::string& path) {
    constexpr std::string_view wanted = "a readable prepared list file";
    const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (!file.is_open() || ::fstat(file.get(), &status) != 0) fail(path, wanted);
    constexpr std::int64_t bytes_max = std::int64_t{8} << 30;
    if (!S_ISREG(status.st_mode) || status.st_size > bytes_max)
        throw FileError(path, 0, 0, "expected a prepared list file, found something else");
    NameSetMemory memory(static_cast<std::size_t>(status.st_size));
    for (std::size_t done = 0; done < memory.size();) {
        const ssize_t bytes = ::read(file.get(), memory.data() + done, memory.size() - done);
        if (bytes < 0 && errno == EINTR) continue;
        if (bytes < 0) fail(path, wanted);
        if (bytes == 0) throw FileError(path, 0, 0, "expected a prepared list file, found it cut off");
        done += static_cast<std::size_t>(bytes);
    }
    auto names = NameSet::open(std::move(memory));
    if (!names) throw FileError(path, 0, 0, names.error());
    std::vector<ListInfo> lists;
    if (!read_notes(names->notes(), lists)) {
        throw FileError(path, 0, 0,
                        "expected a prepared list file, found one whose lists cannot be understood");
    }
    return ListCatalog(std::move(lists), std::move(*names));
}

void ListCatalog::save(const std::string& path) const {
    constexpr std::string_view wanted = "to write a prepared list file";
    const std::string fresh = path + ".new";
    {
        const File file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
        if (!file.is_open()) fail(fresh, wanted);
        const std::span<const std::byte> block = names_.block();
        for (std::size_t done = 0; done < block.size();) {
            const ssize_t bytes = ::write(file.get(), block.data() + done, block.size() - done);
            if (bytes < 0 && errno == EINTR) continue;
            if (bytes < 0) fail(fresh, wanted);
            done += static_cast<std::size_t>(bytes);
        }
        if (::fsync(file.get()) != 0) fail(fresh, wanted);
    }
    if (::rename(fresh.c_str(), path.c_str()) != 0) fail(path, wanted);
}

}  // namespace sluice::policy
