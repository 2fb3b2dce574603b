#pragma once
// A flow record in words, for people (a row) and for programs (a JSON object).
#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/flow_abi.h"
#include "policy/address.h"

namespace sluice::cli {

std::string_view server_name(const flow_record& flow);  // may hold any byte: escape before printing
std::string_view rule(const flow_record& flow);
std::string_view protocol_word(unsigned value);      // of enum flow_protocol, as the policy file spells it
std::string_view protocol(const flow_record& flow);  // as a policy writes it: "server-first"

// `now_ns`: CLOCK_MONOTONIC.
void append_json(fmt::memory_buffer& out, const flow_record& flow, std::uint64_t now_ns);
std::string table(const std::vector<flow_record>& flows, std::uint64_t now_ns);

std::string human_bytes(std::uint64_t bytes);  // "512 B", "1.4 MiB"
std::string human_duration(std::uint64_t ns);  // "0.3s", "42s", "5m03s", "2h10m", "3d04h"

}  // namespace sluice::cli
