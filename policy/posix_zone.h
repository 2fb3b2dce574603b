#pragma once
// The rule at the end of a time zone's file, for times after its last recorded change: POSIX's TZ variable
// (POSIX 8.3), "CET-1CEST,M3.5.0,M10.5.0/3".
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::policy {

struct PosixZone {
    // A day of the year, and a time of it.
    struct Day {
        enum class Kind : std::uint8_t { month_week_day, julian, zero_based };
        Kind kind = Kind::month_week_day;
        int month = 0, week = 0;  // week 5: the last one
        int day = 0;              // of the week, 0 is Sunday; else of the year
        std::int32_t time_s = 7200;
    };
    struct Change {
        std::int64_t from;  // seconds since the epoch
        std::int32_t offset_s;
    };

    std::int32_t standard_offset_s = 0;  // to add to UTC
    bool has_daylight = false;
    std::int32_t daylight_offset_s = 0;
    Day begin, end;  // of daylight saving time

    static std::optional<PosixZone> parse(std::string_view text);
    std::array<Change, 2> changes(int year) const;  // in the order of time
};

}  // namespace sluice::policy
