#pragma once
// The packet splice's table: flows that TC programs carry from one leg to the other without any socket, and
// the programs themselves, attached to every interface. Pinned in the state directory beside the flow table
// (flow_table.h), so that flows outlive the agent; layout and meaning: bpf/packet_abi.h.
//
// Works in the network namespace of the thread that made it. insert(), list(), kill() and read_events() may
// be called from any thread.
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/flow_abi.h"
#include "bpf/packet_abi.h"
#include "userspace/datapath/packet_flow.h"

namespace sluice::datapath {

struct PacketSpliceOptions {
    // Capacity; 0: by the host's memory, at most 1,000,000. The kernel reserves 512 bytes for each at once.
    // An adopted table keeps its own as long as flows are in it.
    std::uint32_t flows_max = 0;
    std::uint32_t idle_s = 0;  // a flow without packets for so long ends; 0: never
    std::uint32_t half_close_s = 0;
};

class PacketSplice {
  public:
    using OnEnd = std::function<void(const packet_flow_end&)>;
    using OnHello = std::function<void(const packet_hello_piece&)>;

    // For the agent, which holds the state directory's lock (FlowTable::own): loads and pins what is missing,
    // adopts what is there with its flows, attaches the programs to every interface in place of an earlier
    // agent's, starts the collection of dead entries. Throws StateError, also when the maps have another ABI
    // version.
    static PacketSplice own(const std::string& state_directory, const PacketSpliceOptions& options);

    // For readers and for `sluice flows kill` without an agent. Throws StateError.
    static PacketSplice open(const std::string& state_directory);

    // Detaches the programs from every interface of the calling thread's network namespace and removes the
    // pinned maps: its flows end without a word. Nothing there is not an error.
    static void remove_all(const std::string& state_directory);

    PacketSplice(PacketSplice&&) noexcept;
    PacketSplice& operator=(PacketSplice&&) noexcept;
    ~PacketSplice();  // leaves everything in place

    // From here on packets with either tuple are the table's. All or nothing.
    std::expected<void, PacketRefusal> insert(const PacketFlow& flow, const PacketDirection& up,
                                              const PacketDirection& down);

    // A flow that the kernel programs enter by themselves when the server answers (packet_dial.h): its slot.
    // `up`: of the client's packets, on both legs. Nothing: no room.
    std::optional<std::uint32_t> dial(const PacketFlow& flow, const packet_tuple& up,
                                      std::span<const char> first_bytes, const PacketDialLeg& leg);
    packet_guard_state dial_state(std::uint32_t slot) const;
    // True: the flow is spliced. False: it was not, and will not be.
    bool end_dial(std::uint32_t slot);

    // Whether a flow of the table, also one that is closing, has packets with this tuple. A connection of the
    // host itself with such a tuple would meet that flow: ask before connect().
    bool contains(const packet_tuple& arrives) const;

    std::vector<flow_record> list() const;  // mode `packet`, state `spliced`
    flow_record record(const packet_flow_end& end) const;
    std::size_t size() const;  // without those that are closing

    // For the agent, of the flow that a packet_hello_piece is about. Nothing: it has ended, or does not wait
    // for a judgement.
    std::optional<PacketWaiting> waiting(std::uint32_t slot, std::uint64_t id) const;
    // When it has been judged and may pass: from here on the client's payload is forwarded, also what is
    // injected, and until the server has acknowledged these bytes, nothing else in their place. `flow`: with
    // what it was judged by; `seq`: of the first, as the client counts. False: as waiting(), or not now.
    bool pass(std::uint32_t slot, const PacketFlow& flow, std::uint32_t seq, std::span<const char> bytes);
    // Ends it instead, as kill() below.
    bool refuse(std::uint32_t slot, const PacketFlow& flow);

    // What is to become of a flow that lives in some slot.
    struct Fate {
        bool ends = false;
        std::string_view rule{};  // its new one
    };
    // Hands each live flow in the slots from `first` on, `count` at most, to `judge`, with what does not
    // change while it lives, and does as it says. False: there are no slots behind them.
    bool rejudge(std::uint32_t first, std::uint32_t count,
                 const std::function<Fate(const flow_record&)>& judge);

    // Ends a flow: both ends get an RST that they believe. False: no such flow here.
    bool kill(std::uint64_t id);

    // Tells both ends of a flow that the programs have given up for want of packets. They may be gone for
    // long.
    void reset(const packet_flow_end& end) const;

    // For the agent: readable when events wait that must not; those of flows that ended in good order are
    // to be read now and then.
    int events_fd() const;
    void read_events(const OnEnd& on_end, const OnHello& on_hello = {});

    // For the agent: readable when interfaces came or went; attach_new() then takes them in.
    int interfaces_fd() const;
    void attach_new();

    // A map or (for the agent) a program of the same BPF object by its name, for bpf/packet_hold.h's
    // user-space half. -1: none. Valid as long as this.
    int map_fd(std::string_view name) const;
    int program_fd(std::string_view name) const;

  private:
    struct Handles;
    explicit PacketSplice(std::unique_ptr<Handles> handles);
    std::unique_ptr<Handles> handles_;
};

}  // namespace sluice::datapath
