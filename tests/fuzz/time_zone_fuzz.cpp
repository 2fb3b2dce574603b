// Whatever a file of the time zone database says: it is read, or refused in one sentence, and every time has
// an offset.
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "policy/posix_zone.h"
#include "policy/time_zone.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice::policy;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (const auto zone = PosixZone::parse(text)) {
        const auto changes = zone->changes(2026);
        if (changes[0].from > changes[1].from) std::abort();
    }
    const auto zone = TimeZone::parse("Fuzz/Zone", text);
    if (!zone && (zone.error().empty() || zone.error().find('\n') != std::string::npos)) std::abort();
    if (!zone) return 0;
    for (const std::int64_t seconds : {INT64_MIN / 2, std::int64_t{0}, std::int64_t{1} << 31, INT64_MAX / 2})
        (*zone)->offset_at(std::chrono::sys_seconds(std::chrono::seconds(seconds)));
    return 0;
}
