#include "userspace/agent/flow_log.h"

#include "userspace/agent/recorded_facts.h"
#include "userspace/datapath/flow_endpoint.h"
#include "userspace/datapath/flow_table.h"

namespace sluice::agent {
namespace {

double milliseconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

bool happened(Clock::time_point time) {
    return time != Clock::time_point();
}

void add_identity(text::JsonObject& line, const Flow& flow) {
    line.add("flow", flow.id);
    line.add("source", flow.source.to_string());
    if (flow.mac) line.add("mac", flow.mac->to_string());
    line.add("destination", flow.destination.to_string());
    if (flow.is_pinned()) line.add("dialled", flow.dialled.to_string());
    if (flow.proxied && flow.proxied->via != policy::Via::captured) {
        line.add("via", policy::to_string(flow.proxied->via));
        line.add("asked_name", flow.proxied->asked_name);
    }
    if (!flow.judged) return;
    line.add("protocol", policy::to_string(flow.protocol));
    line.add("server_name", flow.claimed_name());
    line.add("rule", flow.rule);
    if (!flow.list.empty()) line.add("list", flow.list);
    if (!flow.category.empty()) line.add("category", flow.category);
    line.add("decision", policy::to_string(flow.outcome.action));
}

}  // namespace

void log_verdict(Log& log, const Flow& flow, flow_end end) {
    log.event("verdict", [&](text::JsonObject& line) {
        add_identity(line, flow);
        if (!flow.would_deny.empty()) line.add("would_deny", flow.would_deny);
        if (flow.verified != Verified::unasked) {
            line.add("verify", policy::to_string(flow.outcome.verify));
            line.add("verified", to_string(flow.verified));
        }
        if (end == FLOW_END_name_mismatch || end == FLOW_END_name_unresolved)
            line.add("why", datapath::flow_end_word(static_cast<unsigned>(end)));
        if (!flow.allowed()) line.add("style", policy::to_string(flow.outcome.style));
        if (flow.has_started_tls) line.add("has_started_tls", true);
        if (flow.has_hello()) {
            line.add("alpn", flow.hello.alpn);
            line.add("ja4", flow.ja4);
            line.add("ech", tls::to_string(flow.hello.ech));
            line.add("records", flow.hello.records);
            line.add("hello_bytes", flow.hello.bytes);
        } else if (flow.protocol == policy::Protocol::malformed) {
            line.add("began_as", policy::to_string(flow.began_as));
            line.add("why", flow.hello.why);
        } else if (flow.protocol == policy::Protocol::ssh) {
            line.add(flow.client_was_silent ? "ssh_server_version" : "ssh_version",
                     flow.client_was_silent ? flow.ssh_server_version : flow.ssh_version);
        }
        if (flow.client_was_silent) line.add("client_was_silent", true);
        line.add("peek_ms", milliseconds(flow.times.accepted, flow.times.judged));
    });
}

void log_end(Log& log, const Flow& flow, flow_end end) {
    const auto now = Clock::now();
    log.event("end", [&](text::JsonObject& line) {
        add_identity(line, flow);
        line.add("mode", datapath::splice_mode_word(flow.mode));
        line.add("reason", datapath::splice_reason_word(flow.reason));
        line.add("bytes_up", flow.up.bytes);
        line.add("bytes_down", flow.down.bytes);
        const auto& times = flow.times;
        if (happened(times.judged)) line.add("peek_ms", milliseconds(times.accepted, times.judged));
        // The server of a proxied flow may have been connected before its client had said anything to judge.
        if (happened(times.connected) && times.connected >= times.judged)
            line.add("connect_ms", milliseconds(times.judged, times.connected));
        if (happened(times.spliced)) line.add("splice_ms", milliseconds(times.spliced, now));
        line.add("total_ms", milliseconds(times.accepted, now));
        line.add("end", datapath::flow_end_word(static_cast<unsigned>(end)));
    });
}

void log_packet_end(Log& log, const flow_record& flow, flow_end end) {
    constexpr double ns_per_ms = 1e6;
    const auto now_ns = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
    log.event("end", [&](text::JsonObject& line) {
        line.add("flow", flow.id);
        line.add("source", datapath::endpoint(flow.source).to_string());
        line.add("destination", datapath::endpoint(flow.destination).to_string());
        if (datapath::is_dialled_elsewhere(flow))
            line.add("dialled", datapath::endpoint(flow.dialled).to_string());
        if (const Arrival arrival = arrival_of(flow); arrival.via != policy::Via::captured) {
            line.add("via", policy::to_string(arrival.via));
            line.add("asked_name", arrival.asked_name);
        }
        line.add("protocol", policy::to_string(static_cast<policy::Protocol>(flow.protocol)));
        line.add("server_name", flow.server_name);
        line.add("rule", flow.rule);
        const bool denied = end == FLOW_END_policy_changed;
        line.add("decision", policy::to_string(denied ? policy::Action::deny : policy::Action::allow));
        line.add("mode", datapath::splice_mode_word(flow.mode));
        line.add("reason", datapath::splice_reason_word(flow.reason));
        line.add("bytes_up", flow.up.bytes);
        line.add("bytes_down", flow.down.bytes);
        line.add("total_ms", static_cast<double>(now_ns - flow.accepted_ns) / ns_per_ms);
        line.add("end", datapath::flow_end_word(static_cast<unsigned>(end)));
    });
}

}  // namespace sluice::agent
