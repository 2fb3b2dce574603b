#include "policy/time_window.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

#include "policy/posix_zone.h"

namespace sluice::policy {
namespace {

std::chrono::sys_seconds at(std::int64_t seconds) {
    return std::chrono::sys_seconds(std::chrono::seconds(seconds));
}

// What the C library says of the same file.
long offset_by_libc(const char* zone, std::int64_t seconds) {
    ::setenv("TZ", zone, 1);
    ::tzset();
    std::time_t time = seconds;
    std::tm local{};
    ::localtime_r(&time, &local);
    ::unsetenv("TZ");
    ::tzset();
    return local.tm_gmtoff;
}

TEST(TimeZone, AgreesWithTheCLibraryPastAndFuture) {
    for (const char* name : {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
                             "Africa/Casablanca", "America/Sao_Paulo", "Pacific/Apia", "Europe/Dublin"}) {
        auto zone = TimeZone::load(name);
        ASSERT_TRUE(zone) << zone.error();
        // From 1901 to 2099 in steps that hit every hour of the day.
        for (std::int64_t time = -2'177'452'800; time < 4'070'908'800; time += 86'400 * 5 + 3'607) {
            ASSERT_EQ((*zone)->offset_at(at(time)).count(), offset_by_libc(name, time))
                << name << " " << time;
        }
    }
}

TEST(TimeZone, WhatIsNoZoneFileIsAnError) {
    for (std::string bytes : {std::string(), std::string("TZif"), std::string(44, '\0'),
                              std::string("TZif2") + std::string(200, '\xff')}) {
        EXPECT_FALSE(TimeZone::parse("x", bytes));
    }
}

TEST(PosixZone, ReadsEveryNotation) {
    auto berlin = PosixZone::parse("CET-1CEST,M3.5.0,M10.5.0/3");
    ASSERT_TRUE(berlin);
    EXPECT_EQ(berlin->standard_offset_s, 3600);
    EXPECT_EQ(berlin->changes(2026)[0].from, 1774746000);  // 2026-03-29T01:00Z
    EXPECT_EQ(berlin->changes(2026)[1].from, 1792890000);  // 2026-10-25T01:00Z
    EXPECT_FALSE(PosixZone::parse("<+0330>-3:30")->has_daylight);
    EXPECT_EQ(PosixZone::parse("<+0330>-3:30")->standard_offset_s, 12'600);
    EXPECT_EQ(PosixZone::parse("XXX3EDT4,J60/0,J300")->changes(2024)[0].from,
              1709262000);  // 1 March, leap year
    for (const char* wrong : {"", "CE1", "CET", "CET-1CEST", "CET-1CEST,M13.1.0,M1.1.0", "CET-1CEST,M3.5.0"})
        EXPECT_FALSE(PosixZone::parse(wrong)) << wrong;
}

TEST(TimeWindow, HoursOverMidnightBelongToTheDayOnWhichTheyBegin) {
    TimeWindow night(TimeZone::load("UTC").value());
    night.add(parse_days("fri").value(), DayHours::parse("22:00-06:00").value());
    constexpr std::int64_t friday = 1'782'432'000;  // 2026-06-26T00:00Z
    EXPECT_FALSE(night.contains(at(friday + 5 * 3600)));
    EXPECT_TRUE(night.contains(at(friday + 22 * 3600)));
    EXPECT_TRUE(night.contains(at(friday + 29 * 3600)));
    EXPECT_FALSE(night.contains(at(friday + 30 * 3600)));
    EXPECT_EQ(night.clock_at(at(friday + 22 * 3600 + 300)), "fri 22:05 UTC");
}

TEST(TimeWindow, DaysWrapAroundAndTheWeekHasAnEnd) {
    EXPECT_EQ(parse_days("sat-mon")->to_string(), "1100001");  // Monday is the last digit
    EXPECT_EQ(parse_days("mon-sun")->count(), 7u);
    EXPECT_FALSE(parse_days("mon-"));
    EXPECT_FALSE(parse_days("Mon"));
    TimeWindow sunday(TimeZone::load("UTC").value());
    sunday.add(parse_days("sun").value(), DayHours::parse("23:00-01:00").value());
    constexpr std::int64_t monday = 1'782'691'200;  // 2026-06-29T00:00Z
    EXPECT_TRUE(sunday.contains(at(monday - 1)));
    EXPECT_TRUE(sunday.contains(at(monday + 3599)));
    EXPECT_FALSE(sunday.contains(at(monday + 3600)));
}

TEST(TimeWindow, HoursAreTwoClockTimesThatDiffer) {
    EXPECT_TRUE(DayHours::parse("00:00-24:00"));
    for (const char* wrong : {"", "8:00-9:00", "08:00", "08:00-08:00", "24:00-01:00", "08:60-09:00",
                              "25:00-26:00", "08:00-9:000"})
        EXPECT_FALSE(DayHours::parse(wrong)) << wrong;
}

}  // namespace
}  // namespace sluice::policy
