#pragma once
// The maps of the packet splice that hold its flows: a slot and two routes each, and the texts that they
// share. Not thread-safe where it is not const. Throws StateError when a map cannot be opened.
#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/flow_abi.h"
#include "bpf/packet_abi.h"
#include "userspace/datapath/fd.h"
#include "userspace/datapath/mapped_array.h"
#include "userspace/datapath/packet_flow.h"
#include "userspace/datapath/packet_guards.h"
#include "userspace/datapath/packet_names.h"

namespace sluice::datapath {

class PacketTable {
  public:
    enum class Access : std::uint8_t { read, write };

    // The maps pinned in `directory`. With Access::write, by the only one who has that: clears away what an
    // agent left half-made that was killed in insert().
    PacketTable(const std::string& directory, Access access);

    // As of PacketSplice.
    std::expected<void, PacketRefusal> insert(const PacketFlow& flow, const PacketDirection& up,
                                              const PacketDirection& down);
    std::optional<std::uint32_t> dial(const PacketFlow& flow, const packet_tuple& up,
                                      std::span<const char> first_bytes, const PacketDialLeg& leg);
    packet_guard_state dial_state(std::uint32_t slot) const { return guards_->state(slot); }
    bool end_dial(std::uint32_t slot);

    std::optional<packet_route> find_route(const packet_tuple& arrives) const;
    std::vector<flow_record> list() const;                // by id
    flow_record identity(const packet_flow& flow) const;  // what does not change while it lives
    std::optional<std::uint32_t> slot_of(std::uint64_t id) const;
    const packet_flow& flow(std::uint32_t slot) const { return flows_[slot]; }
    // Another rule, for a flow that this slot still has; the flow's facts stay.
    void rename_rule(std::uint32_t slot, std::uint64_t id, std::string_view rule);
    // What a second hello says, in place of the first.
    void rename(std::uint32_t slot, const PacketFlow& flow);
    std::optional<PacketWaiting> waiting(std::uint32_t slot, std::uint64_t id) const;
    // Nothing else gets to the server in the place of these bytes, of which the first has this number as the
    // client counts. False: too many, or the flow's guard is another's.
    bool guard(std::uint32_t slot, std::uint64_t id, std::uint32_t seq, std::span<const char> bytes);
    packet_control& control() const { return control_[0]; }
    int map_fd(std::string_view name) const;  // -1: none

  private:
    std::uint16_t intern(std::string_view text);
    void name(packet_flow& slot, const PacketFlow& flow);
    void clear_leftovers();
    void erase_routes(const packet_tuple& up_key);
    std::uint32_t next_slot();
    bool is_full() const;
    std::optional<std::uint32_t> take_slot(bool with_guard, std::uint64_t now_ns);
    std::optional<std::uint32_t> take_closing_slot(bool with_guard, std::uint64_t now_ns);
    void fill(std::uint32_t slot, const PacketFlow& flow, const packet_tuple& up, std::uint64_t now_ns);
    int insert_route(std::uint32_t slot, PacketDirection direction, std::uint64_t now_ns);
    std::optional<flow_record> record(const packet_flow& flow) const;

    std::map<std::string, Fd, std::less<>> maps_;
    int routes_ = -1;
    int names_map_ = -1;
    int held_legs_ = -1;
    MappedArray<packet_flow> flows_;
    MappedArray<packet_control> control_;
    std::optional<PacketNames> names_;  // with Access::write, as the following
    std::optional<PacketGuards> guards_;
    std::uint32_t next_slot_ = 0;
    std::uint64_t guards_full_until_ns_ = 0;
};

}  // namespace sluice::datapath
