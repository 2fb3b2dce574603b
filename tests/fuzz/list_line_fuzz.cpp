// Each line of any bytes, in each format: what comes out are canonical names, which a set then knows.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "policy/list_line.h"
#include "policy/name_set_builder.h"
#include "policy/server_name.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice::policy;
    if (size == 0) return 0;
    const auto format = static_cast<ListFormat>(data[0] % list_format_words.size());
    std::string_view rest(reinterpret_cast<const char*>(data + 1), size - 1);
    std::vector<std::pair<std::string, NameReach>> names;
    ListLine line;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        line.read(format, rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line.kind == ListLine::Kind::names && line.names.empty()) std::abort();
        if (line.kind != ListLine::Kind::names) continue;
        for (const ListLine::Name& name : line.names) {
            const auto canonical = canonical_server_name(name.text);
            if (!canonical || *canonical != name.text) std::abort();
            names.emplace_back(name.text, name.reach);
        }
    }
    // A set takes a thousand times as long as a line.
    if (names.empty() || data[0] >= 16) return 0;
    NameSetBuilder builder;
    for (std::size_t i = 0; i < names.size(); ++i)
        builder.add(names[i].first, (i + 1) % lists_max, names[i].second);
    const NameSet set = builder.build();
    for (std::size_t i = 0; i < names.size(); ++i) {
        const auto& [name, reach] = names[i];
        const auto found = set.trace(name);
        if (found.empty() || found.back().suffix != name) std::abort();
        const NameSources& sources = found.back().sources;
        const ListSet& lists = reach == NameReach::subtree ? sources.subtree
                               : reach == NameReach::exact ? sources.exact
                                                           : sources.except;
        if (!lists.contains((i + 1) % lists_max)) std::abort();
    }
    return 0;
}
