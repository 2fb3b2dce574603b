#pragma once
// A directory of its own for one test, gone with the object.
#include <filesystem>
#include <string>
#include <string_view>

namespace sluice::test {

class TemporaryDirectory {
  public:
    TemporaryDirectory();
    ~TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    const std::filesystem::path& path() const { return path_; }
    // Writes (or replaces) a file readable by its owner only, as ssh wants its keys; gives its whole path.
    std::string write(std::string_view name, std::string_view text) const;

  private:
    std::filesystem::path path_;
};

std::string read_file(const std::string& path);  // throws when it cannot be opened

}  // namespace sluice::test
