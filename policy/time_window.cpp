#include "policy/time_window.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace sluice::policy {
namespace {

constexpr std::array<std::string_view, 7> day_words{"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

std::optional<std::size_t> parse_day(std::string_view text) {
    auto word = std::ranges::find(day_words, text);
    if (word == day_words.end()) return std::nullopt;
    return static_cast<std::size_t>(word - day_words.begin());
}

// "hh:mm", up to 24:00
std::optional<std::size_t> parse_clock(std::string_view text) {
    auto digit = [&](std::size_t i) { return text[i] >= '0' && text[i] <= '9'; };
    if (text.size() != 5 || text[2] != ':' || !digit(0) || !digit(1) || !digit(3) || !digit(4)) {
        return std::nullopt;
    }
    auto two = [&](std::size_t i) {
        return static_cast<std::size_t>((text[i] - '0') * 10 + text[i + 1] - '0');
    };
    std::size_t minute = two(0) * 60 + two(3);
    if (two(3) > 59 || minute > minutes_a_day) return std::nullopt;
    return minute;
}

std::string clock(std::size_t minute) {
    char text[8];
    std::snprintf(text, sizeof text, "%02u:%02u", static_cast<unsigned>(minute / 60 % 100),
                  static_cast<unsigned>(minute % 60));
    return text;
}

}  // namespace

std::optional<std::bitset<7>> parse_days(std::string_view text) {
    std::size_t dash = text.find('-');
    auto first = parse_day(text.substr(0, dash));
    auto last = dash == text.npos ? first : parse_day(text.substr(dash + 1));
    if (!first || !last) return std::nullopt;
    std::bitset<7> days;
    for (std::size_t day = *first;; day = (day + 1) % 7) {
        days.set(day);
        if (day == *last) return days;
    }
}

std::optional<DayHours> DayHours::parse(std::string_view text) {
    std::size_t dash = text.find('-');
    if (dash == text.npos) return std::nullopt;
    auto begin = parse_clock(text.substr(0, dash));
    auto end = parse_clock(text.substr(dash + 1));
    if (!begin || !end || *begin == *end || *begin == minutes_a_day) return std::nullopt;
    return DayHours{*begin, *end};
}

void TimeWindow::add(std::bitset<7> days, DayHours hours) {
    for (std::size_t day = 0; day < 7; ++day) {
        if (days[day]) text_ += std::string(day_words[day]) + " ";
    }
    text_ += clock(hours.begin) + "-" + clock(hours.end) + " " + zone_->name();
    std::size_t length = (hours.end + minutes_a_day - hours.begin) % minutes_a_day;
    if (length == 0) length = minutes_a_day;  // 00:00-24:00
    for (std::size_t day = 0; day < 7; ++day) {
        for (std::size_t i = 0; days[day] && i < length; ++i)
            minutes_.set((day * minutes_a_day + hours.begin + i) % minutes_.size());
    }
}

std::size_t TimeWindow::minute_of_week(std::chrono::sys_seconds time) const {
    // 1970-01-01 was a Thursday.
    constexpr std::int64_t epoch_minute = 3 * minutes_a_day;
    constexpr std::int64_t week = 7 * minutes_a_day;
    auto local = std::chrono::floor<std::chrono::minutes>(time + zone_->offset_at(time));
    std::int64_t minute = (local.time_since_epoch().count() + epoch_minute) % week;
    return static_cast<std::size_t>(minute < 0 ? minute + week : minute);
}

bool TimeWindow::contains(std::chrono::sys_seconds time) const {
    return minutes_[minute_of_week(time)];
}

std::string TimeWindow::clock_at(std::chrono::sys_seconds time) const {
    std::size_t minute = minute_of_week(time);
    return std::string(day_words[minute / minutes_a_day]) + " " + clock(minute % minutes_a_day) + " " +
           zone_->name();
}

}  // namespace sluice::policy
