// A prepared file of any bytes, whose checksum is made right, is refused or can be asked without harm. The
// input changes bytes of a good one: [place: 4 bytes, byte]...
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "policy/name_set_builder.h"

namespace {

using namespace sluice::policy;

const NameSet& good_set() {
    static const NameSet set = [] {
        NameSetBuilder builder;
        for (int i = 0; i < 200; ++i)
            builder.add("n" + std::to_string(i) + ".example", static_cast<std::size_t>(i) % 40,
                        NameReach::subtree);
        builder.add(std::string(60, 'q') + "." + std::string(60, 'z'), 1, NameReach::exact);
        return builder.build();
    }();
    return set;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto block = good_set().block();
    NameSetMemory memory(block.size());
    std::copy(block.begin(), block.end(), memory.data());
    for (; size >= 5; data += 5, size -= 5) {
        std::uint32_t place;
        std::memcpy(&place, data, sizeof place);
        memory.data()[place % block.size()] = static_cast<std::byte>(data[4]);
    }
    const std::uint64_t checksum = NameSet::checksum({memory.data(), memory.size()});
    std::memcpy(memory.data() + offsetof(NameSetHeader, checksum), &checksum, sizeof checksum);
    auto set = NameSet::open(std::move(memory));
    if (!set) return 0;
    set->lookup("www.n7.example");
    set->lookup(std::string(60, 'q') + "." + std::string(60, 'z'));
    set->for_each([](std::string_view name, const NameSources&) {
        if (name.size() > server_name_bytes_max) std::abort();
    });
    return 0;
}
