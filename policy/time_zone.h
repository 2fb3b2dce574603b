#pragma once
// How far a place's clocks are from UTC, at any time: the system's time zone database (tzdata), read once.
// localtime(3) knows one zone per process only, and tzset(3) is not safe among threads.
#include <chrono>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::policy {

inline constexpr std::string_view zone_directory = "/usr/share/zoneinfo";

class TimeZone {
  public:
    // `name` as in tzdata, "Europe/Berlin"; "UTC" needs no tzdata. The error is one sentence, "expected ...,
    // found ...".
    static std::expected<std::shared_ptr<const TimeZone>, std::string> load(std::string_view name);
    // The same from the bytes of a TZif file (RFC 9636), version 2 or later.
    static std::expected<std::shared_ptr<const TimeZone>, std::string> parse(std::string_view name,
                                                                             std::string_view tzif);

    std::chrono::seconds offset_at(std::chrono::sys_seconds time) const;  // to add to UTC
    const std::string& name() const { return name_; }

  private:
    struct Change {
        std::int64_t from;  // seconds since the epoch
        std::int32_t offset_s;
    };
    explicit TimeZone(std::string_view name) : name_(name) {}
    friend class TzifReader;

    std::string name_;
    std::int32_t first_offset_s_ = 0;
    std::vector<Change> changes_;  // sorted; rules for the future are written out, up to the year 2100
};

}  // namespace sluice::policy
