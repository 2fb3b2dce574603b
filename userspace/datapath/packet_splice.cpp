#include "userspace/datapath/packet_splice.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <packet_splice.skel.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include "userspace/datapath/fd.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/packet_interfaces.h"
#include "userspace/datapath/packet_pins.h"
#include "userspace/datapath/packet_reset.h"
#include "userspace/datapath/packet_table.h"
#include "userspace/datapath/packet_tuple.h"

namespace sluice::datapath {

namespace {

[[noreturn]] void fail(const std::string& what, int error) {
    throw StateError(what + ": " + std::strerror(error));
}

// Runs `packet_kill` or `packet_pass`. False: the flow is not, or no longer, where that applies.
bool run_with_slot(int program, __u32 slot) {
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.ctx_in = &slot;
    options.ctx_size_in = sizeof slot;
    return bpf_prog_test_run_opts(program, &options) == 0 && options.retval == 0;
}

// Two RSTs to the sender of a direction, of which one is what he expects: behind all that has been passed on
// to him, or behind what he has acknowledged. If it is neither, since packets were under way, the first draws
// an acknowledgement from him, which the kernel program turns round into an RST.
void reset_sender(const packet_tuple& key, const packet_route& route, const packet_route& other) {
    const packet_tuple back = packet_reverse(key);
    const auto acknowledged = static_cast<std::uint32_t>(route.ack);
    const std::uint32_t passed_on = other.seq_next + other.seq_delta;
    if (passed_on != acknowledged) send_reset(back, passed_on);
    send_reset(back, acknowledged);
}

}  // namespace

struct PacketSplice::Handles {
    explicit Handles(PacketTable opened) : table(std::move(opened)) {}

    PacketTable table;
    PacketSkeleton skeleton;  // of the agent; readers have the pinned maps only
    Fd kill_program;
    std::unique_ptr<ring_buffer, void (*)(ring_buffer*)> ring{nullptr, ring_buffer__free};
    const OnEnd* on_end = nullptr;  // only while read_events() runs
    const OnHello* on_hello = nullptr;
    std::optional<PacketInterfaces> interfaces;
    std::mutex inserting;  // guards the writing half of `table`, and `interfaces`

    bool kill(std::uint32_t slot);
    void open_kill(const std::string& directory);
    void open_events(const std::string& directory);
};

void PacketSplice::Handles::open_kill(const std::string& directory) {
    const std::string path = directory + "/packet_kill";
    kill_program = Fd(bpf_obj_get(path.c_str()));
    if (!kill_program) fail(path, errno);
}

void PacketSplice::Handles::open_events(const std::string& directory) {
    const auto read_end = [](void* context, void* data, std::size_t) {
        const auto& on_end = *static_cast<const Handles*>(context)->on_end;
        if (on_end) on_end(*static_cast<const packet_flow_end*>(data));
        return 0;
    };
    const auto read_hello = [](void* context, void* data, std::size_t) {
        const auto& on_hello = *static_cast<const Handles*>(context)->on_hello;
        if (on_hello) on_hello(*static_cast<const packet_hello_piece*>(data));
        return 0;
    };
    ring.reset(ring_buffer__new(table.map_fd("packet_events"), read_end, this, nullptr));
    if (!ring) fail(directory + "/packet_events", errno);
    const int error = ring_buffer__add(ring.get(), table.map_fd("packet_hellos"), read_hello, this);
    if (error != 0) fail(directory + "/packet_hellos", -error);
}

PacketSplice::PacketSplice(std::unique_ptr<Handles> handles) : handles_(std::move(handles)) {}
PacketSplice::PacketSplice(PacketSplice&&) noexcept = default;
PacketSplice& PacketSplice::operator=(PacketSplice&&) noexcept = default;
PacketSplice::~PacketSplice() = default;

PacketSplice PacketSplice::own(const std::string& state_directory, const PacketSpliceOptions& options) {
    PacketSkeleton skeleton = load_packet_splice(state_directory, options.flows_max);
    auto handles = std::make_unique<Handles>(PacketTable(state_directory, PacketTable::Access::write));
    handles->table.control().idle_s = options.idle_s;
    handles->table.control().half_close_s = options.half_close_s;
    handles->open_kill(state_directory);
    handles->open_events(state_directory);
    start_packet_clock(*skeleton);
    const auto& programs = skeleton->progs;
    handles->interfaces.emplace(PacketPrograms{.ethernet_in = bpf_program__fd(programs.packet_ethernet_in),
                                               .ethernet_out = bpf_program__fd(programs.packet_ethernet_out),
                                               .bare_in = bpf_program__fd(programs.packet_bare_in),
                                               .bare_out = bpf_program__fd(programs.packet_bare_out)});
    handles->skeleton = std::move(skeleton);
    return PacketSplice(std::move(handles));
}

PacketSplice PacketSplice::open(const std::string& state_directory) {
    if (!pinned_packet_control(state_directory)) fail(state_directory + "/packet_control", ENOENT);
    auto handles = std::make_unique<Handles>(PacketTable(state_directory, PacketTable::Access::read));
    handles->open_kill(state_directory);
    return PacketSplice(std::move(handles));
}

void PacketSplice::remove_all(const std::string& state_directory) {
    PacketInterfaces::detach_all();
    unpin_packet_splice(state_directory);
}

std::expected<void, PacketRefusal> PacketSplice::insert(const PacketFlow& flow, const PacketDirection& up,
                                                        const PacketDirection& down) {
    const std::scoped_lock lock(handles_->inserting);
    for (const PacketDirection* direction : {&up, &down}) {
        if (!handles_->interfaces->carries(direction->route.ifindex))
            return std::unexpected(PacketRefusal::interface);
    }
    return handles_->table.insert(flow, up, down);
}

std::optional<std::uint32_t> PacketSplice::dial(const PacketFlow& flow, const packet_tuple& up,
                                                std::span<const char> first_bytes, const PacketDialLeg& leg) {
    const std::scoped_lock lock(handles_->inserting);
    return handles_->table.dial(flow, up, first_bytes, leg);
}

packet_guard_state PacketSplice::dial_state(std::uint32_t slot) const {
    return handles_->table.dial_state(slot);
}

bool PacketSplice::end_dial(std::uint32_t slot) {
    const std::scoped_lock lock(handles_->inserting);
    return handles_->table.end_dial(slot);
}

bool PacketSplice::contains(const packet_tuple& arrives) const {
    return handles_->table.find_route(arrives).has_value();
}

std::vector<flow_record> PacketSplice::list() const {
    return handles_->table.list();
}

flow_record PacketSplice::record(const packet_flow_end& end) const {
    flow_record out = handles_->table.identity(end.flow);
    out.dialled = packet_source(end.down);
    out.active_ns = end.active_ns;
    out.up = {.bytes = end.bytes_up, .packets = end.packets_up};
    out.down = {.bytes = end.bytes_down, .packets = end.packets_down};
    return out;
}

void PacketSplice::reset(const packet_flow_end& end) const {
    send_reset(packet_reverse(end.flow.up), end.up_ack);
    send_reset(packet_reverse(end.down), end.down_ack);
}

std::size_t PacketSplice::size() const {
    return handles_->table.control().flows_inserted - handles_->table.control().flows_closed;
}

std::optional<PacketWaiting> PacketSplice::waiting(std::uint32_t slot, std::uint64_t id) const {
    return handles_->table.waiting(slot, id);
}

bool PacketSplice::pass(std::uint32_t slot, const PacketFlow& flow, std::uint32_t seq,
                        std::span<const char> bytes) {
    const std::scoped_lock lock(handles_->inserting);  // so that a slot keeps its flow, or is free
    if (!handles_->table.waiting(slot, flow.id) || !handles_->table.guard(slot, flow.id, seq, bytes))
        return false;
    handles_->table.rename(slot, flow);
    return run_with_slot(bpf_program__fd(handles_->skeleton->progs.packet_pass), slot);
}

bool PacketSplice::refuse(std::uint32_t slot, const PacketFlow& flow) {
    const std::scoped_lock lock(handles_->inserting);
    if (!handles_->table.waiting(slot, flow.id)) return false;
    handles_->table.rename(slot, flow);
    return handles_->kill(slot);
}

bool PacketSplice::Handles::kill(std::uint32_t slot) {
    const packet_tuple up_key = table.flow(slot).up;
    if (!run_with_slot(kill_program.get(), slot)) return false;
    // Nothing passes any more, so that the numbers stand still.
    const auto up = table.find_route(up_key);
    if (!up) return true;
    const packet_tuple down_key = packet_reverse(up->leaves);
    const auto down = table.find_route(down_key);
    if (!down) return true;
    reset_sender(up_key, *up, *down);
    reset_sender(down_key, *down, *up);
    return true;
}

bool PacketSplice::kill(std::uint64_t id) {
    const auto slot = handles_->table.slot_of(id);
    return slot && handles_->kill(*slot);
}

bool PacketSplice::rejudge(std::uint32_t first, std::uint32_t count,
                           const std::function<Fate(const flow_record&)>& judge) {
    const std::scoped_lock lock(handles_->inserting);  // so that a slot keeps its flow, or is free
    PacketTable& table = handles_->table;
    const std::uint32_t used = table.control().slots_used;
    const std::uint32_t end = std::min(used, first + count);
    for (std::uint32_t slot = first; slot < end; ++slot) {
        const packet_flow flow = table.flow(slot);
        if (flow.state != PACKET_SLOT_live) continue;
        flow_record known = table.identity(flow);
        if (const auto up = table.find_route(flow.up)) known.dialled = packet_destination(up->leaves);
        const Fate fate = judge(known);
        if (!fate.rule.empty() && fate.rule != known.rule) table.rename_rule(slot, flow.id, fate.rule);
        if (fate.ends) handles_->kill(slot);
    }
    return end < used;
}

int PacketSplice::events_fd() const {
    return ring_buffer__epoll_fd(handles_->ring.get());
}

void PacketSplice::read_events(const OnEnd& on_end, const OnHello& on_hello) {
    handles_->on_end = &on_end;
    handles_->on_hello = &on_hello;
    ring_buffer__consume(handles_->ring.get());
}

int PacketSplice::interfaces_fd() const {
    return handles_->interfaces->fd();
}

void PacketSplice::attach_new() {
    const std::scoped_lock lock(handles_->inserting);
    handles_->interfaces->attach_new();
}

int PacketSplice::map_fd(std::string_view name) const {
    return handles_->table.map_fd(name);
}

int PacketSplice::program_fd(std::string_view name) const {
    if (!handles_->skeleton) return -1;
    const bpf_program* const program =
        bpf_object__find_program_by_name(handles_->skeleton->obj, std::string(name).c_str());
    return program ? bpf_program__fd(program) : -1;
}

}  // namespace sluice::datapath
