#pragma once
// Times of the week, by the clocks of one place.
#include <bitset>
#include <chrono>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "policy/time_zone.h"

namespace sluice::policy {

inline constexpr std::size_t minutes_a_day = 24 * 60;

// "mon", or "mon-fri"; "fri-mon" goes over the weekend. Monday is bit 0.
std::optional<std::bitset<7>> parse_days(std::string_view text);

// "08:00-18:00": from the first minute to before the second. "22:00-06:00" goes on into the next day. "24:00"
// may end it.
struct DayHours {
    std::size_t begin = 0;  // minutes
    std::size_t end = minutes_a_day;
    static std::optional<DayHours> parse(std::string_view text);
};

class TimeWindow {
  public:
    explicit TimeWindow(std::shared_ptr<const TimeZone> zone) : zone_(std::move(zone)) {}
    // Hours that go over midnight belong to the day on which they begin.
    void add(std::bitset<7> days, DayHours hours);

    bool contains(std::chrono::sys_seconds time) const;         // allocates nothing
    const std::string& text() const { return text_; }           // "mon,tue 08:00-18:00 Europe/Berlin"
    std::string clock_at(std::chrono::sys_seconds time) const;  // "tue 14:03 Europe/Berlin"

  private:
    std::size_t minute_of_week(std::chrono::sys_seconds time) const;

    std::shared_ptr<const TimeZone> zone_;
    std::string text_;
    std::bitset<7 * minutes_a_day> minutes_;  // from Monday, 00:00
};

}  // namespace sluice::policy
