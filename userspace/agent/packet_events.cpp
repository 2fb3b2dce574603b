#include "userspace/agent/packet_events.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "userspace/agent/flow_log.h"
#include "userspace/agent/name_check.h"

namespace sluice::agent {
namespace {

// How late the end of a flow may be logged.
constexpr std::chrono::milliseconds interval{100};

}  // namespace

PacketEvents::PacketEvents(asio::io_context& io, Shared& shared, WhyEnded why_ended)
    : shared_(shared),
      table_(shared.packet->table()),
      why_ended_(std::move(why_ended)),
      second_hellos_(
          *shared.packet,
          {.hello_bytes_max = std::min<std::uint32_t>(shared.config.hello_bytes_max, PACKET_GUARD_BYTES_MAX),
           .hello_deadline = shared.config.hello_deadline},
          [this](Flow& flow, flow_end trouble) { return judge_second_hello(flow, trouble); }),
      events_(io, ::dup(table_.events_fd())),
      interface_changes_(io, ::dup(table_.interfaces_fd())),
      timer_(io) {
    read_when_urgent();
    read_regularly();
    watch_interfaces();
}

void PacketEvents::read() {
    table_.read_events([this](const packet_flow_end& end) { on_end(end); },
                       [this](const packet_hello_piece& piece) { second_hellos_.take(piece); });
}

void PacketEvents::read_when_urgent() {
    events_.async_wait(asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
        if (error) return;
        read();
        read_when_urgent();
    });
}

void PacketEvents::read_regularly() {
    read();
    second_hellos_.look_after();
    timer_.expires_after(interval);
    timer_.async_wait([this](boost::system::error_code error) {
        if (!error) read_regularly();
    });
}

void PacketEvents::on_end(const packet_flow_end& end) {
    if (end.end == FLOW_END_idle_timeout || end.end == FLOW_END_half_close_timeout) table_.reset(end);
    totals_.bytes_up += end.bytes_up;
    totals_.bytes_down += end.bytes_down;
    const std::uint64_t id = end.flow.id;
    const flow_end why = why_ended_(id, second_hellos_.why_ended(id, static_cast<flow_end>(end.end)));
    totals_.ends[why]++;
    if (end.flow.is_logged) log_packet_end(shared_.log, table_.record(end), why);
}

flow_end PacketEvents::judge_second_hello(Flow& flow, flow_end trouble) {
    const auto policy = shared_.policy.load();
    flow.find_mac(*policy, neighbours_);
    flow.judge(*policy);
    flow_end end = flow.allowed() ? FLOW_END_live : trouble == FLOW_END_live ? FLOW_END_denied : trouble;
    if (flow.needs_evidence()) end = check_name_by_what_is_known(shared_.resolver, flow);
    if (flow.outcome.log) log_verdict(shared_.log, flow, end);
    return end;
}

void PacketEvents::watch_interfaces() {
    interface_changes_.async_wait(asio::posix::stream_descriptor::wait_read,
                                  [this](boost::system::error_code error) {
                                      if (error) return;
                                      table_.attach_new();
                                      watch_interfaces();
                                  });
}

}  // namespace sluice::agent
