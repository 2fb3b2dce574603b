#include "userspace/cli/past_flow.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>

#include "policy/yaml_reader.h"
#include "userspace/cli/utc_time.h"
#include "userspace/text/json_reader.h"

namespace sluice::cli {
namespace {

template <typename Words>
std::optional<std::size_t> position(const Words& words, std::string_view word) {
    auto found = std::ranges::find(words, word);
    if (found == words.end()) return std::nullopt;
    return static_cast<std::size_t>(found - words.begin());
}

}  // namespace

policy::Facts PastFlow::facts() const {
    policy::Facts facts = plain_;
    // The log has an IP literal in the name's place; the policy has none.
    bool is_address = policy::IpAddress::parse(server_name).has_value();
    facts.server_name = is_address ? std::string_view() : server_name;
    facts.asked_name = asked_name;
    facts.alpn = alpn;
    facts.ja4 = ja4;
    facts.ssh_version = ssh_version;
    facts.ssh_server_version = ssh_server_version;
    return facts;
}

std::optional<PastFlow> PastFlow::parse(std::string_view line) {
    auto fields = text::JsonFields::parse(line);
    if (!fields || fields->text("event") != "verdict") return std::nullopt;
    auto source = policy::Endpoint::parse(fields->text("source"));
    auto destination = policy::Endpoint::parse(fields->text("destination"));
    auto protocol = position(policy::protocol_words, fields->text("protocol"));
    if (!source || !destination || !protocol) return std::nullopt;
    PastFlow flow;
    flow.time = fields->text("time");
    flow.server_name = fields->text("server_name");
    flow.asked_name = fields->text("asked_name");
    flow.alpn = fields->texts("alpn");
    flow.ja4 = fields->text("ja4");
    flow.ssh_version = fields->text("ssh_version");
    flow.ssh_server_version = fields->text("ssh_server_version");
    flow.rule = fields->text("rule");
    flow.allowed = fields->text("decision") == "allow";
    flow.plain_.source = *source;
    flow.plain_.destination = *destination;
    flow.plain_.protocol = static_cast<policy::Protocol>(*protocol);
    flow.plain_.time = read_utc_time(flow.time).value_or(std::chrono::sys_seconds());
    flow.plain_.mac = policy::MacAddress::parse(fields->text("mac"));
    if (auto via = position(policy::via_words, fields->text("via")))
        flow.plain_.via = static_cast<policy::Via>(*via);
    flow.plain_.has_started_tls = fields->text("has_started_tls") == "true";
    flow.plain_.client_was_silent =
        fields->text("client_was_silent") == "true" || flow.plain_.protocol == policy::Protocol::server_first;
    if (auto ech = position(policy::ech_words, fields->text("ech")))
        flow.plain_.ech = static_cast<policy::Ech>(*ech);
    if (auto began_as = position(policy::protocol_words, fields->text("began_as"))) {
        flow.plain_.began_as = static_cast<policy::Protocol>(*began_as);
    }
    return flow;
}

PastFlowCount read_past_flows(const std::string& file, const std::function<void(const PastFlow&)>& visit) {
    std::ifstream stream;
    if (file != "-") {
        errno = 0;
        stream.open(file, std::ios::binary);
        if (!stream) {
            throw policy::FileError(file, 0, 0,
                                    "expected a readable log, found: " + std::string(std::strerror(errno)));
        }
    }
    std::istream& in = file == "-" ? std::cin : stream;
    PastFlowCount count;
    for (std::string line; std::getline(in, line);) {
        if (line.empty()) continue;
        if (auto flow = PastFlow::parse(line)) {
            ++count.flows;
            visit(*flow);
        } else if (line.front() != '{') {
            ++count.other_lines;
        }
    }
    return count;
}

}  // namespace sluice::cli
