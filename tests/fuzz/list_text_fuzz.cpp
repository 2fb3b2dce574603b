// Whatever the bytes, unpacking ends, with lines of bounded length or in a FileError of one line.
#include <cstdint>
#include <cstdlib>
#include <sstream>

#include "policy/list_text.h"
#include "policy/yaml_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice::policy;
    std::istringstream stream(std::string(reinterpret_cast<const char*>(data), size));
    try {
        ListText text(stream, "fuzz");
        int lines = 0;
        for (std::string_view line;;) {
            const ListText::Next next = text.next(line);
            if (next == ListText::Next::end) break;
            if (text.line_number() != ++lines) std::abort();
            if (next == ListText::Next::line && line.size() > list_line_bytes_max) std::abort();
            if (line.find('\n') != line.npos) std::abort();
            if (lines == 100'000) break;
        }
    } catch (const FileError& error) {
        std::string_view line = error.what();
        if (!line.starts_with("fuzz: error: expected ") || line.find('\n') != line.npos) std::abort();
    }
    return 0;
}
