#include "policy/posix_zone.h"

#include <charconv>
#include <chrono>
#include <utility>

namespace sluice::policy {
namespace {

bool take(std::string_view& text, char wanted) {
    if (!text.starts_with(wanted)) return false;
    text.remove_prefix(1);
    return true;
}

std::optional<int> take_number(std::string_view& text, int max) {
    int value = 0;
    auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || value < 0 || value > max) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
    return value;
}

// "<+0330>" or at least three letters.
bool take_abbreviation(std::string_view& text) {
    if (take(text, '<')) {
        std::size_t end = text.find('>');
        if (end == text.npos) return false;
        text.remove_prefix(end + 1);
        return true;
    }
    std::size_t letters = 0;
    while (letters < text.size() && ((text[letters] | 0x20) >= 'a' && (text[letters] | 0x20) <= 'z'))
        ++letters;
    text.remove_prefix(letters);
    return letters >= 3;
}

// [+-]hh[:mm[:ss]]; up to 167 hours, as RFC 9636 3.3.1 allows
std::optional<std::int32_t> take_time(std::string_view& text) {
    bool negative = take(text, '-');
    if (!negative) take(text, '+');
    auto hours = take_number(text, 167);
    if (!hours) return std::nullopt;
    std::int32_t seconds = *hours * 3600;
    for (int unit : {60, 1}) {
        if (!take(text, ':')) break;
        auto part = take_number(text, 59);
        if (!part) return std::nullopt;
        seconds += *part * unit;
    }
    return negative ? -seconds : seconds;
}

std::optional<PosixZone::Day> take_day(std::string_view& text) {
    using Kind = PosixZone::Day::Kind;
    PosixZone::Day day;
    if (!take(text, ',')) return std::nullopt;
    if (take(text, 'M')) {
        auto month = take_number(text, 12);
        bool dot = take(text, '.');
        auto week = take_number(text, 5);
        bool other_dot = take(text, '.');
        auto weekday = take_number(text, 6);
        if (!dot || !other_dot || !month || !week || !weekday || *month < 1 || *week < 1) return std::nullopt;
        day.month = *month;
        day.week = *week;
        day.day = *weekday;
    } else {
        day.kind = take(text, 'J') ? Kind::julian : Kind::zero_based;
        auto number = take_number(text, 365);
        if (!number) return std::nullopt;
        day.day = *number;
    }
    if (take(text, '/')) {
        auto time = take_time(text);
        if (!time) return std::nullopt;
        day.time_s = *time;
    }
    return day;
}

// Local seconds since the epoch, whatever the offset.
std::int64_t local_seconds(const PosixZone::Day& day, int year_number) {
    namespace chrono = std::chrono;
    const chrono::year year(year_number);
    chrono::sys_days date = chrono::sys_days(year / chrono::January / 1);
    switch (day.kind) {
        case PosixZone::Day::Kind::month_week_day: {
            const chrono::month month(static_cast<unsigned>(day.month));
            const chrono::weekday weekday(static_cast<unsigned>(day.day));
            date = day.week == 5 ? chrono::sys_days(year / month / weekday[chrono::last])
                                 : chrono::sys_days(year / month / weekday[static_cast<unsigned>(day.week)]);
            break;
        }
        case PosixZone::Day::Kind::julian:  // 1 to 365, and 29 February is never counted
            date += chrono::days(day.day - 1 + (year.is_leap() && day.day >= 60 ? 1 : 0));
            break;
        case PosixZone::Day::Kind::zero_based:
            date += chrono::days(day.day);
            break;
    }
    return chrono::sys_seconds(date).time_since_epoch().count() + day.time_s;
}

}  // namespace

std::optional<PosixZone> PosixZone::parse(std::string_view text) {
    PosixZone zone;
    if (!take_abbreviation(text)) return std::nullopt;
    auto offset = take_time(text);
    if (!offset) return std::nullopt;
    zone.standard_offset_s = -*offset;  // POSIX counts westwards
    if (text.empty()) return zone;
    zone.has_daylight = true;
    zone.daylight_offset_s = zone.standard_offset_s + 3600;
    if (!take_abbreviation(text)) return std::nullopt;
    if (!text.starts_with(',')) {
        auto daylight = take_time(text);
        if (!daylight) return std::nullopt;
        zone.daylight_offset_s = -*daylight;
    }
    auto begin = take_day(text);
    auto end = begin ? take_day(text) : std::nullopt;
    if (!begin || !end || !text.empty()) return std::nullopt;
    zone.begin = *begin;
    zone.end = *end;
    return zone;
}

std::array<PosixZone::Change, 2> PosixZone::changes(int year) const {
    Change to_daylight{local_seconds(begin, year) - standard_offset_s, daylight_offset_s};
    Change to_standard{local_seconds(end, year) - daylight_offset_s, standard_offset_s};
    if (to_daylight.from > to_standard.from) std::swap(to_daylight, to_standard);
    return {to_daylight, to_standard};
}

}  // namespace sluice::policy
