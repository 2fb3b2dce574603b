#pragma once
// Strict reading of a YAML mapping: each mistake is reported with file, line, column and what was expected, and a key
// that nobody asked for is a mistake too.
#include <yaml-cpp/yaml.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace sluice::policy {

// What a file got wrong. what() is one line, ready for people: "gateway.yaml:12:7: error: expected ...".
class FileError : public std::runtime_error {
  public:
    FileError(std::string_view file, int line, int column, std::string_view message);
};

}  // namespace sluice::policy
