#include "userspace/cli/utc_time.h"

#include <charconv>

namespace sluice::cli {
namespace {

// Exactly `digits` of them, then `after` if it is not 0.
std::optional<unsigned> take(std::string_view& text, std::size_t digits, char after) {
    unsigned value = 0;
    if (text.size() < digits || text[0] == '-') return std::nullopt;
    auto [stop, error] = std::from_chars(text.data(), text.data() + digits, value);
    if (error != std::errc() || stop != text.data() + digits) return std::nullopt;
    text.remove_prefix(digits);
    if (after == 0) return value;
    if (!text.starts_with(after)) return std::nullopt;
    text.remove_prefix(1);
    return value;
}

}  // namespace

std::optional<std::chrono::sys_seconds> read_utc_time(std::string_view text) {
    namespace chrono = std::chrono;
    auto year = take(text, 4, '-');
    auto month = year ? take(text, 2, '-') : std::nullopt;
    auto day = month ? take(text, 2, 'T') : std::nullopt;
    auto hour = day ? take(text, 2, ':') : std::nullopt;
    auto minute = hour ? take(text, 2, 0) : std::nullopt;
    if (!minute) return std::nullopt;
    std::optional<unsigned> second = 0;
    if (text.starts_with(':')) {
        text.remove_prefix(1);
        second = take(text, 2, 0);
    }
    if (text.starts_with('.'))
        text.remove_prefix(std::min(text.find_first_not_of("0123456789", 1), text.size()));
    chrono::year_month_day date(chrono::year(static_cast<int>(*year)), chrono::month(*month),
                                chrono::day(*day));
    if (!second || text != "Z" || !date.ok() || *hour > 23 || *minute > 59 || *second > 60)
        return std::nullopt;
    return chrono::sys_days(date) + chrono::hours(*hour) + chrono::minutes(*minute) +
           chrono::seconds(*second);
}

}  // namespace sluice::cli
