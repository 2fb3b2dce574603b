#pragma once
#include <chrono>
#include <optional>
#include <string_view>

namespace sluice::cli {

// "2026-11-22T08:30:00Z", with or without seconds and their fraction (which is dropped): as the log has it.
std::optional<std::chrono::sys_seconds> read_utc_time(std::string_view text);

}  // namespace sluice::cli
