#include "policy/time_zone.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>

#include "policy/posix_zone.h"
#include "policy/quote.h"

namespace sluice::policy {
namespace {

constexpr std::size_t tzif_bytes_max = 256 * 1024;  // the largest has 4 KiB
constexpr std::size_t header_bytes = 44;            // RFC 9636 3.1
constexpr int last_year = 2100;

bool is_zone_name(std::string_view name) {
    auto fits = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' ||
               c == '_' || c == '-' || c == '+';
    };
    return !name.empty() && name.size() <= 64 && name.front() != '/' && std::ranges::all_of(name, fits);
}

}  // namespace

// Reads big-endian numbers, and never beyond the end: what is not there is 0, and `ok` becomes false.
class TzifReader {
  public:
    explicit TzifReader(std::string_view bytes) : bytes_(bytes) {}

    std::int64_t number(std::size_t width) {
        if (bytes_.size() < width) {
            ok = false;
            return 0;
        }
        std::uint64_t value = bytes_[0] < 0 ? ~std::uint64_t{0} : 0;  // two's complement
        for (std::size_t i = 0; i < width; ++i)
            value = value << 8 | static_cast<std::uint8_t>(bytes_[i]);
        bytes_.remove_prefix(width);
        return static_cast<std::int64_t>(value);
    }
    void skip(std::uint64_t count) {
        ok = ok && count <= bytes_.size();
        bytes_.remove_prefix(ok ? count : bytes_.size());
    }
    std::string_view rest() const { return bytes_; }

    struct Counts {
        std::uint64_t isut, isstd, leap, time, type, chars;
        std::uint64_t block_bytes(std::uint64_t time_bytes) const {
            return time * (time_bytes + 1) + type * 6 + chars + leap * (time_bytes + 4) + isstd + isut;
        }
    };
    Counts header() {
        constexpr std::string_view magic = "TZif";
        ok = ok && bytes_.size() >= header_bytes && bytes_.starts_with(magic) && bytes_[4] >= '2';
        skip(20);
        std::uint64_t counts[6];
        for (std::uint64_t& count : counts)
            count = static_cast<std::uint64_t>(number(4)) & 0xffffffff;
        return {counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]};
    }

    bool read(TimeZone& zone);

    bool ok = true;

  private:
    std::string_view bytes_;
};

// The block of version 1, which has 32 bits for a time, is skipped: the one behind it has 64.
bool TzifReader::read(TimeZone& zone) {
    Counts first = header();
    skip(first.block_bytes(4));
    Counts counts = header();
    if (!ok || counts.type == 0 || counts.block_bytes(8) > bytes_.size()) return false;
    for (std::uint64_t i = 0; i < counts.time; ++i)
        zone.changes_.push_back({number(8), 0});
    std::string_view kinds = bytes_.substr(0, counts.time);
    skip(counts.time);
    std::vector<std::int32_t> offsets;
    for (std::uint64_t i = 0; i < counts.type; ++i) {
        offsets.push_back(static_cast<std::int32_t>(number(4)));
        skip(2);
    }
    for (std::uint64_t i = 0; i < counts.time; ++i) {
        auto kind = static_cast<std::uint8_t>(kinds[i]);
        if (kind >= offsets.size()) return false;
        zone.changes_[i].offset_s = offsets[kind];
    }
    zone.first_offset_s_ = offsets[0];
    skip(counts.chars + counts.leap * 12 + counts.isstd + counts.isut);
    if (!ok || !std::ranges::is_sorted(zone.changes_, {}, &TimeZone::Change::from)) return false;

    std::string_view footer = rest();
    if (footer.size() < 2 || footer.front() != '\n') return false;
    footer = footer.substr(1, footer.find('\n', 1) - 1);
    if (footer.empty()) return true;
    auto rule = PosixZone::parse(footer);
    if (!rule) return false;
    std::int64_t last =
        zone.changes_.empty() ? std::numeric_limits<std::int64_t>::min() : zone.changes_.back().from;
    if (zone.changes_.empty()) zone.first_offset_s_ = rule->standard_offset_s;
    for (int year = 1970; year <= last_year && rule->has_daylight; ++year) {
        for (const PosixZone::Change& change : rule->changes(year)) {
            if (change.from > last) zone.changes_.push_back({change.from, change.offset_s});
        }
    }
    return true;
}

std::expected<std::shared_ptr<const TimeZone>, std::string> TimeZone::parse(std::string_view name,
                                                                            std::string_view tzif) {
    std::shared_ptr<TimeZone> zone(new TimeZone(name));
    if (!TzifReader(tzif).read(*zone)) {
        return std::unexpected("expected time zone data (TZif, version 2 or later) for " + quote(name) +
                               ", found something else");
    }
    return zone;
}

std::expected<std::shared_ptr<const TimeZone>, std::string> TimeZone::load(std::string_view name) {
    if (name == "UTC") return std::shared_ptr<const TimeZone>(new TimeZone(name));
    constexpr std::string_view wanted = "expected a time zone such as Europe/Berlin or UTC, found ";
    if (!is_zone_name(name)) return std::unexpected(std::string(wanted) + quote(name));
    std::ifstream file(std::string(zone_directory) + "/" + std::string(name), std::ios::binary);
    std::string bytes(tzif_bytes_max, '\0');
    if (file) file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    bytes.resize(file.is_open() ? static_cast<std::size_t>(file.gcount()) : 0);
    if (bytes.empty()) {
        return std::unexpected(std::string(wanted) + quote(name) + ", which is not in " +
                               std::string(zone_directory) + " (package tzdata)");
    }
    return parse(name, bytes);
}

std::chrono::seconds TimeZone::offset_at(std::chrono::sys_seconds time) const {
    auto after = std::ranges::upper_bound(changes_, time.time_since_epoch().count(), {}, &Change::from);
    return std::chrono::seconds(after == changes_.begin() ? first_offset_s_ : (after - 1)->offset_s);
}

}  // namespace sluice::policy
