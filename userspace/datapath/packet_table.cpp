#include "userspace/datapath/packet_table.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "bpf/packet_bytes.h"
#include "userspace/datapath/flow_endpoint.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/monotonic.h"
#include "userspace/datapath/packet_pins.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::datapath {

namespace {

// Of a full table, for each flow that is to be inserted.
constexpr std::uint32_t closing_slots_tried = 4096;
// Looking at all guards costs 0.1 ms: none is found again only after so long.
constexpr std::uint64_t guards_full_ns = 10'000'000;

// A rule and the facts that flows were judged by share one text, so that a slot needs one number for both.
struct RuleText {
    std::string_view rule;
    std::string_view facts;
};

RuleText split_rule(std::string_view text) {
    const std::size_t end = text.find('\0');
    if (end == text.npos) return {text, {}};
    return {text.substr(0, end), text.substr(end + 1)};
}

// The packets of a client of the proxy go to the gateway: where its flow goes stands first among its facts.
std::optional<flow_endpoint> destination_in(std::string_view facts) {
    constexpr std::string_view key = "to=";
    if (!facts.starts_with(key)) return std::nullopt;
    facts.remove_prefix(key.size());
    const auto endpoint =
        policy::Endpoint::parse(facts.substr(0, facts.find_first_of(std::string_view(" \0", 2))));
    if (!endpoint) return std::nullopt;
    return abi_endpoint(*endpoint);
}

std::string join_rule(std::string_view rule, std::string_view facts) {
    static_assert(FLOW_RULE_BYTES + FLOW_FACTS_BYTES <= PACKET_NAME_BYTES);
    std::string text(rule.substr(0, FLOW_RULE_BYTES - 1));
    if (!facts.empty()) text.append(1, '\0').append(facts.substr(0, FLOW_FACTS_BYTES - 1));
    return text;
}

template <std::size_t N>
void copy_text(char (&out)[N], std::string_view text) {
    text.copy(out, N - 1);
}

}  // namespace

PacketTable::PacketTable(const std::string& directory, Access access) {
    for (const std::string& name : packet_map_names()) {
        const std::string object = std::string(directory).append("/").append(name);
        Fd fd(bpf_obj_get(object.c_str()));
        if (!fd) throw StateError(object + ": " + std::strerror(errno));
        maps_.emplace(name, std::move(fd));
    }
    const int protection = access == Access::write ? PROT_READ | PROT_WRITE : PROT_READ;
    routes_ = map_fd("packet_routes");
    names_map_ = map_fd("packet_names");
    held_legs_ = map_fd("held_legs");
    control_ =
        MappedArray<packet_control>(map_fd("packet_control"), 1, protection, directory + "/packet_control");
    flows_ = MappedArray<packet_flow>(map_fd("packet_flows"), control_->slots, protection,
                                      directory + "/packet_flows");
    if (access == Access::read) return;
    guards_.emplace(MappedArray<packet_guard>(map_fd("packet_guards"), PACKET_GUARDS_MAX, protection,
                                              directory + "/packet_guards"),
                    &flows_[0]);
    clear_leftovers();
    names_.emplace(names_map_);
}

int PacketTable::map_fd(std::string_view name) const {
    const auto found = maps_.find(name);
    return found != maps_.end() ? found->second.get() : -1;
}

std::optional<packet_route> PacketTable::find_route(const packet_tuple& key) const {
    packet_route route{};
    if (bpf_map_lookup_elem(routes_, &key, &route) != 0) return std::nullopt;
    return route;
}

void PacketTable::erase_routes(const packet_tuple& up_key) {
    const auto up = find_route(up_key);
    if (!up) return;
    const packet_tuple down_key = packet_reverse(up->leaves);
    bpf_map_delete_elem(routes_, &down_key);
    bpf_map_delete_elem(routes_, &up_key);
}

// An agent that is killed in the middle of insert() leaves a slot that is neither free nor live.
void PacketTable::clear_leftovers() {
    for (std::uint32_t slot = 0; slot < control_->slots_used; ++slot) {
        if (flows_[slot].state != PACKET_SLOT_filling) continue;
        erase_routes(flows_[slot].up);
        flows_[slot] = packet_flow{};
    }
}

// Round and round.
std::uint32_t PacketTable::next_slot() {
    const std::uint32_t slot = next_slot_;
    next_slot_ = next_slot_ + 1 < control_->slots ? next_slot_ + 1 : 0;
    return slot;
}

bool PacketTable::is_full() const {
    return control_->flows_inserted - control_->flows_ended >= control_->slots;
}

// A full table makes room for a new flow with one that is over and only waits for stragglers.
std::optional<std::uint32_t> PacketTable::take_closing_slot(bool with_guard, std::uint64_t now_ns) {
    const std::uint32_t slots = control_->slots;
    for (std::uint32_t tried = 0; tried < std::min(slots, closing_slots_tried); ++tried) {
        const std::uint32_t slot = next_slot();
        if (with_guard && !guards_->is_free(slot, now_ns)) continue;
        std::atomic_ref state(flows_[slot].state);
        __u32 expected = PACKET_SLOT_closing;
        if (!state.compare_exchange_strong(expected, PACKET_SLOT_ending)) continue;
        erase_routes(flows_[slot].up);
        std::atomic_ref(control_->flows_ended).fetch_add(1);
        state.store(PACKET_SLOT_free, std::memory_order_release);
        return slot;
    }
    return std::nullopt;
}

std::optional<std::uint32_t> PacketTable::take_slot(bool with_guard, std::uint64_t now_ns) {
    const std::uint32_t slots = control_->slots;
    std::uint32_t guarded = 0;
    if (with_guard && now_ns < guards_full_until_ns_) return std::nullopt;
    for (std::uint32_t tried = 0; tried < slots && !is_full(); ++tried) {
        const std::uint32_t slot = next_slot();
        if (std::atomic_ref(flows_[slot].state).load(std::memory_order_acquire) != PACKET_SLOT_free) continue;
        if (!with_guard || guards_->is_free(slot, now_ns)) return slot;
        if (++guarded < PACKET_GUARDS_MAX) continue;
        guards_full_until_ns_ = now_ns + guards_full_ns;
        return std::nullopt;
    }
    return take_closing_slot(with_guard, now_ns);
}

std::uint16_t PacketTable::intern(std::string_view text) {
    return names_->intern(text, [this](std::vector<bool>& used) {
        for (std::uint32_t index = 0; index < control_->slots_used; ++index) {
            if (flows_[index].state != PACKET_SLOT_free)
                used[flows_[index].server_name] = used[flows_[index].rule] = true;
        }
    });
}

void PacketTable::rename_rule(std::uint32_t slot, std::uint64_t id, std::string_view rule) {
    packet_flow& flow = flows_[slot];
    if (flow.id != id) return;
    const std::string facts(split_rule(PacketNames::read(names_map_, flow.rule)).facts);
    if (const std::uint16_t number = intern(join_rule(rule, facts)); number != 0)
        std::atomic_ref(flow.rule).store(number, std::memory_order_relaxed);
}

void PacketTable::rename(std::uint32_t slot, const PacketFlow& flow) {
    packet_flow renamed = flows_[slot];
    if (renamed.id != flow.id) return;
    name(renamed, flow);
    std::atomic_ref(flows_[slot].server_name).store(renamed.server_name, std::memory_order_relaxed);
    std::atomic_ref(flows_[slot].rule).store(renamed.rule, std::memory_order_relaxed);
}

std::optional<PacketWaiting> PacketTable::waiting(std::uint32_t slot, std::uint64_t id) const {
    if (slot >= control_->slots_used) return std::nullopt;
    const packet_flow flow = flows_[slot];
    if (flow.id != id || flow.state != PACKET_SLOT_live) return std::nullopt;
    const auto up = find_route(flow.up);
    const auto down = up ? find_route(packet_reverse(up->leaves)) : std::nullopt;
    if (!down || (up->flags & PACKET_ROUTE_JUDGED) == 0) return std::nullopt;
    return PacketWaiting{.flow = identity(flow),
                         .seq = static_cast<std::uint32_t>(down->ack) - up->seq_delta};
}

void PacketTable::name(packet_flow& slot, const PacketFlow& flow) {
    slot.server_name = intern(flow.server_name);
    slot.rule = 0;
    // A name that found no room is not known later, and so neither are the facts.
    const bool is_known = flow.server_name.empty() || slot.server_name != 0;
    if (is_known) slot.rule = intern(join_rule(flow.rule, flow.facts));
    if (slot.rule == 0) slot.rule = intern(flow.rule);
}

void PacketTable::fill(std::uint32_t slot, const PacketFlow& flow, const packet_tuple& up,
                       std::uint64_t now_ns) {
    packet_flow filled{};
    filled.id = flow.id;
    filled.accepted_ns = flow.accepted_ns;
    filled.up = up;
    filled.state = PACKET_SLOT_filling;
    name(filled, flow);
    filled.protocol = flow.protocol & 0x7f;
    filled.reason = flow.reason;
    filled.is_logged = flow.is_logged ? 1 : 0;
    filled.entered = static_cast<__u8>(now_ns >> 36);
    filled.look_at = static_cast<__u8>(now_ns >> PACKET_TICK_SHIFT);
    flows_[slot] = filled;
    control_->slots_used = std::max(control_->slots_used, slot + 1);
}

// 0, or an errno.
int PacketTable::insert_route(std::uint32_t slot, PacketDirection direction, std::uint64_t now_ns) {
    packet_route& route = direction.route;
    route.slot = slot;
    route.active_ns = now_ns;
    if (std::memcmp(&direction.arrives, &route.leaves, sizeof route.leaves) != 0)
        route.flags |= PACKET_ROUTE_READDRESSED;
    return bpf_map_update_elem(routes_, &direction.arrives, &route, BPF_NOEXIST) == 0 ? 0 : errno;
}

bool PacketTable::guard(std::uint32_t slot, std::uint64_t id, std::uint32_t seq,
                        std::span<const char> bytes) {
    const std::uint64_t now_ns = monotonic_ns();
    const auto up = find_route(flows_[slot].up);
    if (!up || bytes.size() > PACKET_GUARD_BYTES_MAX || !guards_->is_free(slot, now_ns)) return false;
    packet_guard& guard = guards_->begin(slot, id, bytes, now_ns);
    guard.client_seq = seq;
    guard.server_ack = seq + up->seq_delta + guard.bytes;
    guard.server_seq = up->ack_start + up->ack_delta;
    std::atomic_ref(guard.state).store(PACKET_GUARD_on, std::memory_order_release);
    return true;
}

std::expected<void, PacketRefusal> PacketTable::insert(const PacketFlow& flow, const PacketDirection& up,
                                                       const PacketDirection& down) {
    const std::uint64_t now_ns = monotonic_ns();
    const auto slot = take_slot(false, now_ns);
    if (!slot) return std::unexpected(PacketRefusal::table_full);
    fill(*slot, flow, up.arrives, now_ns);
    PacketDirection back = down;
    back.route.is_down = 1;
    int error = insert_route(*slot, up, now_ns);
    if (error == 0) {
        error = insert_route(*slot, back, now_ns);
        if (error != 0) bpf_map_delete_elem(routes_, &up.arrives);
    }
    std::atomic_ref state(flows_[*slot].state);
    state.store(error == 0 ? PACKET_SLOT_live : PACKET_SLOT_free, std::memory_order_release);
    if (error == EEXIST) return std::unexpected(PacketRefusal::tuple_in_use);
    if (error != 0) return std::unexpected(PacketRefusal::failed);
    // The kernel programs count too.
    std::atomic_ref(control_->flows_inserted).fetch_add(1, std::memory_order_relaxed);
    return {};
}

std::optional<std::uint32_t> PacketTable::dial(const PacketFlow& flow, const packet_tuple& up,
                                               std::span<const char> first_bytes, const PacketDialLeg& leg) {
    const std::uint64_t now_ns = monotonic_ns();
    const auto slot = take_slot(true, now_ns);
    if (!slot) return std::nullopt;
    fill(*slot, flow, up, now_ns);
    packet_guard& guard = guards_->begin(*slot, flow.id, first_bytes, now_ns);
    guard.client = up;
    guard.isn = leg.isn;
    guard.clock = leg.clock;
    guard.mss = leg.mss;
    guard.is_watched = leg.is_watched ? 1 : 0;
    guards_->wait_for(*slot);
    std::atomic_ref(guard.state).store(PACKET_GUARD_asked, std::memory_order_release);
    return slot;
}

bool PacketTable::end_dial(std::uint32_t slot) {
    if (guards_->stop_waiting(slot)) return true;
    const packet_tuple answers = packet_reverse(flows_[slot].up);
    bpf_map_delete_elem(held_legs_, &answers);
    std::atomic_ref(flows_[slot].state).store(PACKET_SLOT_free, std::memory_order_release);
    return false;
}

std::vector<flow_record> PacketTable::list() const {
    std::vector<flow_record> records;
    for (std::uint32_t slot = 0; slot < control_->slots_used; ++slot) {
        const packet_flow flow = flows_[slot];
        if (flow.state != PACKET_SLOT_live) continue;
        if (auto record = this->record(flow)) records.push_back(*record);
    }
    std::ranges::sort(records, {}, &flow_record::id);
    return records;
}

std::optional<flow_record> PacketTable::record(const packet_flow& flow) const {
    const auto up = find_route(flow.up);
    const auto down = up ? find_route(packet_reverse(up->leaves)) : std::nullopt;
    if (!down) return std::nullopt;
    flow_record out = identity(flow);
    out.active_ns = std::max({up->active_ns, down->active_ns, flow.accepted_ns});
    out.dialled = packet_destination(up->leaves);
    out.up = {.bytes = packet_bytes_arrived(&*down, &*up), .packets = up->packets};
    out.down = {.bytes = packet_bytes_arrived(&*up, &*down), .packets = down->packets};
    return out;
}

flow_record PacketTable::identity(const packet_flow& flow) const {
    flow_record out{};
    out.id = flow.id;
    out.accepted_ns = flow.accepted_ns;
    out.source = packet_source(flow.up);
    out.destination = out.dialled = packet_destination(flow.up);
    out.state = FLOW_STATE_spliced;
    out.protocol = flow.protocol;
    out.mode = SPLICE_MODE_packet;
    out.reason = flow.reason;
    const std::string text = PacketNames::read(names_map_, flow.rule);
    copy_text(out.rule, split_rule(text).rule);
    copy_text(out.facts, split_rule(text).facts);
    if (const auto destination = destination_in(split_rule(text).facts))
        out.destination = out.dialled = *destination;
    copy_text(out.server_name, PacketNames::read(names_map_, flow.server_name));
    return out;
}

std::optional<std::uint32_t> PacketTable::slot_of(std::uint64_t id) const {
    for (std::uint32_t slot = 0; slot < control_->slots_used; ++slot) {
        if (flows_[slot].state == PACKET_SLOT_live && flows_[slot].id == id) return slot;
    }
    return std::nullopt;
}

}  // namespace sluice::datapath
