#include "userspace/cli/flow_view.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "policy/protocol.h"
#include "userspace/agent/recorded_facts.h"
#include "userspace/datapath/flow_endpoint.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/text/json.h"

namespace sluice::cli {
namespace {

constexpr std::uint64_t ns_per_second = 1'000'000'000;
constexpr std::uint64_t ns_per_ms = 1'000'000;

template <std::size_t N>
std::string_view text_of(const char (&field)[N]) {
    return {field, ::strnlen(field, N)};
}

std::uint64_t since(std::uint64_t then_ns, std::uint64_t now_ns) {
    return now_ns > then_ns ? now_ns - then_ns : 0;
}

// "192.0.2.1:443 (192.0.2.7)": where the client wanted to go, and where the gateway has gone instead.
std::string destination(const flow_record& flow) {
    std::string text = datapath::endpoint(flow.destination).to_string();
    if (!datapath::is_dialled_elsewhere(flow)) return text;
    return text + " (" + datapath::endpoint(flow.dialled).address.to_string() + ")";
}

// "connect (asked.example)": how the flow came, and the name asked for when the flow then said another.
std::string via(const flow_record& flow) {
    const agent::Arrival arrival = agent::arrival_of(flow);
    std::string text(policy::to_string(arrival.via));
    if (arrival.asked_name.empty() || arrival.asked_name == server_name(flow)) return text;
    return text + " (" + text::printable(arrival.asked_name) + ")";
}

using Row = std::vector<std::string>;

Row row(const flow_record& flow, std::uint64_t now_ns) {
    const std::string name = text::printable(server_name(flow));
    return {std::to_string(flow.id),
            datapath::endpoint(flow.source).to_string(),
            destination(flow),
            name.empty() ? "-" : name,
            std::string(protocol(flow)),
            via(flow),
            rule(flow).empty() ? "-" : text::printable(rule(flow)),
            fmt::format("{} ({})", datapath::splice_mode_word(flow.mode),
                        datapath::splice_reason_word(flow.reason)),
            std::string(datapath::flow_state_word(flow.state)),
            human_bytes(flow.up.bytes),
            human_bytes(flow.down.bytes),
            human_duration(since(flow.accepted_ns, now_ns)),
            human_duration(since(flow.active_ns, now_ns))};
}

}  // namespace

std::string_view server_name(const flow_record& flow) {
    return text_of(flow.server_name);
}
std::string_view rule(const flow_record& flow) {
    return text_of(flow.rule);
}

std::string_view protocol_word(unsigned value) {
    return value < policy::protocol_words.size() ? policy::protocol_words[value] : "?";
}

std::string_view protocol(const flow_record& flow) {
    return protocol_word(flow.protocol);
}

void append_json(fmt::memory_buffer& out, const flow_record& flow, std::uint64_t now_ns) {
    text::JsonObject object(out);
    object.add("id", flow.id);
    object.add("source", datapath::endpoint(flow.source).to_string());
    object.add("destination", datapath::endpoint(flow.destination).to_string());
    if (datapath::is_dialled_elsewhere(flow))
        object.add("dialled", datapath::endpoint(flow.dialled).to_string());
    object.add("server_name", server_name(flow));
    object.add("protocol", protocol(flow));
    const agent::Arrival arrival = agent::arrival_of(flow);
    object.add("via", policy::to_string(arrival.via));
    if (arrival.via != policy::Via::captured) object.add("asked_name", arrival.asked_name);
    object.add("rule", rule(flow));
    object.add("mode", datapath::splice_mode_word(flow.mode));
    object.add("reason", datapath::splice_reason_word(flow.reason));
    object.add("state", datapath::flow_state_word(flow.state));
    object.add("bytes_up", flow.up.bytes);
    object.add("bytes_down", flow.down.bytes);
    object.add("packets_up", flow.up.packets);
    object.add("packets_down", flow.down.packets);
    object.add("age_ms", since(flow.accepted_ns, now_ns) / ns_per_ms);
    object.add("idle_ms", since(flow.active_ns, now_ns) / ns_per_ms);
}

std::string table(const std::vector<flow_record>& flows, std::uint64_t now_ns) {
    std::vector<Row> rows = {{"ID", "SOURCE", "DESTINATION", "SERVER NAME", "PROTOCOL", "VIA", "RULE", "MODE",
                              "STATE", "UP", "DOWN", "AGE", "IDLE"}};
    for (const auto& flow : flows)
        rows.push_back(row(flow, now_ns));
    std::vector<std::size_t> widths(rows.front().size());
    for (const auto& cells : rows) {
        for (std::size_t i = 0; i < cells.size(); ++i)
            widths[i] = std::max(widths[i], cells[i].size());
    }
    std::string out;
    for (const auto& cells : rows) {
        for (std::size_t i = 0; i + 1 < cells.size(); ++i)
            out += fmt::format("{:<{}}  ", cells[i], widths[i]);
        out += cells.back() + "\n";
    }
    return out;
}

std::string human_bytes(std::uint64_t bytes) {
    constexpr std::array units = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    if (bytes < 1024) return fmt::format("{} B", bytes);
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    for (; value >= 1024 && unit + 1 < units.size(); ++unit)
        value /= 1024;
    return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string human_duration(std::uint64_t ns) {
    const std::uint64_t seconds = ns / ns_per_second;
    if (seconds < 10)
        return fmt::format("{:.1f}s", static_cast<double>(ns) / static_cast<double>(ns_per_second));
    if (seconds < 60) return fmt::format("{}s", seconds);
    if (seconds < 3600) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
    if (seconds < 86400) return fmt::format("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
    return fmt::format("{}d{:02}h", seconds / 86400, seconds / 3600 % 24);
}

}  // namespace sluice::cli
