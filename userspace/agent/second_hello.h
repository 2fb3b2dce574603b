#pragma once
// The second ClientHellos of TLS flows that are spliced as packets already. The kernel programs stop what a
// client says after what may be a HelloRetryRequest (bpf/packet_watch.h); here it is put together and judged
// like the first, and then passed on, or the flow is ended.
//
// Nobody has acknowledged it meanwhile: what finds no room here, or is lost with an agent that dies, its
// client sends again. Judged it is once: one that is allowed and cannot be guarded yet waits here until it
// can.
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "bpf/flow_abi.h"
#include "bpf/packet_abi.h"
#include "userspace/agent/flow.h"
#include "userspace/agent/packet_mode.h"
#include "userspace/agent/peek.h"

namespace sluice::agent {

// On the agent's own thread.
class SecondHellos {
  public:
    // Writes the verdict into the flow, and into the log. `live`, or how the flow ends; `trouble`: when its
    // hello cannot be understood.
    using Judge = std::function<flow_end(Flow&, flow_end trouble)>;
    SecondHellos(PacketMode& packet, PeekLimits limits, Judge judge);

    void take(const packet_hello_piece& piece);
    void look_after();  // to be called now and then

    // How a packet-spliced flow has ended whose end was read as `end`: who ends it here is not known there.
    flow_end why_ended(std::uint64_t flow_id, flow_end end);

  private:
    struct Waiting {
        flow_record flow{};
        packet_hello_head last{};  // of the client's packets
        std::uint32_t seq = 0;     // of the first byte
        Clock::time_point until;
        std::vector<char> bytes;
        std::optional<Flow> allowed = {};
    };

    Waiting* find(const packet_hello_head& head);
    std::optional<Opening> add(Waiting& waiting, const packet_hello_piece& piece) const;
    // True: nothing is left to do.
    bool judge(Waiting& waiting, Opening opening, bool is_whole);
    bool pass(const Waiting& waiting);

    PacketMode& packet_;
    const PeekLimits limits_;
    const Judge judge_;
    std::unordered_map<std::uint64_t, Waiting> waiting_;   // by flow id
    std::unordered_map<std::uint64_t, flow_end> refused_;  // whose ends have not been read yet
};

}  // namespace sluice::agent
