#include "userspace/datapath/packet_splice.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <packet_splice.skel.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "userspace/datapath/fd.h"
#include "userspace/datapath/flow_table.h"
#include "userspace/datapath/packet_interfaces.h"
#include "userspace/datapath/packet_names.h"
#include "userspace/datapath/packet_reset.h"

namespace sluice::datapath {

namespace {

constexpr std::uint32_t flows_max_limit = 1'000'000;
constexpr std::uint32_t flows_max_floor = 1024;
// Of a host's memory: a million flows on 24 GiB.
constexpr std::uint64_t memory_per_flow_bytes = 24ULL * 1024 * 1024 * 1024 / flows_max_limit;

[[noreturn]] void fail(const std::string& what, int error) {
    throw StateError(what + ": " + std::strerror(error));
}

std::uint32_t capacity_of_host() {
    const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
    const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(pages * page_bytes / memory_per_flow_bytes,
                                                                flows_max_floor, flows_max_limit));
}

struct SkeletonDeleter {
    void operator()(packet_splice* skeleton) const { packet_splice__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<packet_splice, SkeletonDeleter>;

int silence(libbpf_print_level, const char*, va_list) {
    return 0;  // every failure is reported by us, once, with the object's name
}

Skeleton open_skeleton() {
    libbpf_set_print(silence);
    Skeleton skeleton(packet_splice__open());
    if (!skeleton) fail("opening the packet splice's BPF object", errno);
    return skeleton;
}

// The names of the maps that are pinned.
std::vector<std::string> map_names(const packet_splice& skeleton) {
    std::vector<std::string> names;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton.obj) {
        if (!bpf_map__is_internal(map)) names.emplace_back(bpf_map__name(map));
    }
    return names;
}

void unpin(const std::string& directory) {
    std::vector<std::string> names = map_names(*open_skeleton());
    names.emplace_back("packet_kill");
    for (const std::string& name : names) {
        const std::string path = (std::filesystem::path(directory) / name).string();
        if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail(path, errno);
    }
}

// The version comes first in every ABI version. Nothing pinned: no control.
std::optional<packet_control> pinned_control(const std::string& directory) {
    const std::string path = directory + "/packet_control";
    const Fd map(bpf_obj_get(path.c_str()));
    if (!map && errno == ENOENT) return std::nullopt;
    if (!map) fail(path, errno);
    bpf_map_info info{};
    __u32 info_bytes = sizeof info;
    if (bpf_obj_get_info_by_fd(map.get(), &info, &info_bytes) != 0) fail(path, errno);
    std::vector<char> value(info.value_size);
    const __u32 key = 0;
    if (bpf_map_lookup_elem(map.get(), &key, value.data()) != 0) fail(path, errno);
    packet_control control{};
    std::memcpy(&control, value.data(), std::min(value.size(), sizeof control));
    if (control.abi_version != PACKET_ABI_VERSION) {
        throw StateError(directory + ": flows of another version of sluice are spliced here (packet ABI " +
                         std::to_string(control.abi_version) + ", this one has " +
                         std::to_string(PACKET_ABI_VERSION) + ")");
    }
    return control;
}

std::uint64_t flows_in(const packet_control& control) {
    return control.flows_inserted - control.flows_ended;
}

// How many flows the table to be loaded holds. What is pinned with another capacity, but empty, is removed.
std::uint32_t settle_capacity(const std::string& directory, std::uint32_t wanted) {
    const std::uint32_t capacity = wanted != 0 ? wanted : capacity_of_host();
    const auto pinned = pinned_control(directory);
    if (!pinned) {
        unpin(directory);  // the rest of a removal, or of a start, that was interrupted
        return capacity;
    }
    if (pinned->slots == capacity || flows_in(*pinned) != 0) return pinned->slots;
    unpin(directory);
    return capacity;
}

// Part of an array map in our memory; its owner unmaps it.
template <class T>
class Mapped {
  public:
    Mapped() = default;
    Mapped(int fd, std::size_t count, int protection, const std::string& name) : bytes_(count * sizeof(T)) {
        void* const memory = ::mmap(nullptr, bytes_, protection, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED) fail(name, errno);
        data_ = static_cast<T*>(memory);
    }
    Mapped(Mapped&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Mapped& operator=(Mapped&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~Mapped() {
        if (data_) ::munmap(data_, bytes_);
    }
    T& operator[](std::size_t index) const { return data_[index]; }
    T* operator->() const { return data_; }

  private:
    T* data_ = nullptr;
    std::size_t bytes_ = 0;
};

void start_clock(const packet_splice& skeleton) {
    std::array<char, 64> packet{};  // the kernel wants one to run such a program with
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.data_in = packet.data();
    options.data_size_in = packet.size();
    if (const int error =
            bpf_prog_test_run_opts(bpf_program__fd(skeleton.progs.packet_start_clock), &options);
        error != 0)
        fail("starting the collection of ended flows", -error);
    if (options.retval != 0) throw StateError("starting the collection of ended flows: the kernel refused");
}

flow_endpoint endpoint_of(const __u32 (&address)[4], __u16 port, bool is_v4) {
    flow_endpoint endpoint{};
    std::memcpy(endpoint.address, is_v4 ? &address[3] : &address[0], is_v4 ? 4 : 16);
    endpoint.is_v4 = is_v4;
    endpoint.port = static_cast<__u16>(__builtin_bswap16(port));
    return endpoint;
}

std::uint64_t bytes_acknowledged(const packet_route& route) {
    const std::uint64_t acknowledged = route.ack - route.ack_start;
    return acknowledged != 0 && (route.flags & PACKET_ROUTE_FIN_ACKED) != 0 ? acknowledged - 1 : acknowledged;
}

std::uint64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
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

template <std::size_t N>
void copy_text(char (&out)[N], std::string_view text) {
    std::memcpy(out, text.data(), std::min(text.size(), N - 1));
}

}  // namespace

struct PacketSplice::Handles {
    std::string path;
    Skeleton skeleton;  // of the agent; readers have the pinned maps only
    std::map<std::string, Fd, std::less<>> maps;
    Fd kill_program;
    int routes = -1;
    int names_map = -1;
    Mapped<packet_flow> flows;
    Mapped<packet_control> control;
    std::unique_ptr<ring_buffer, void (*)(ring_buffer*)> ring{nullptr, ring_buffer__free};
    const OnEnd* on_end = nullptr;  // only while read_events() runs
    const OnEvent* on_event = nullptr;

    std::mutex inserting;  // guards the rest
    std::optional<PacketNames> names;
    std::optional<PacketInterfaces> interfaces;
    std::uint32_t next_slot = 0;

    void load(std::uint32_t slots);
    void open_maps(int protection);
    void clear_leftovers();
    void open_events();
    std::optional<std::uint32_t> take_slot();
    void fill(std::uint32_t slot, const PacketFlow& flow, const packet_tuple& up, std::uint64_t now_ns);
    int insert_route(std::uint32_t slot, const PacketDirection& direction, bool is_down,
                     std::uint64_t now_ns);
    std::optional<packet_route> find_route(const packet_tuple& key) const;
    void erase_routes(const packet_tuple& up_key);
    std::optional<flow_record> record(const packet_flow& flow) const;
    flow_record identity(const packet_flow& flow) const;  // what does not change while it lives
    std::optional<std::uint32_t> slot_of(std::uint64_t id) const;
};

void PacketSplice::Handles::open_maps(int protection) {
    for (const std::string& name : map_names(*open_skeleton())) {
        const std::string object = path + "/" + name;
        Fd fd(bpf_obj_get(object.c_str()));
        if (!fd) fail(object, errno);
        maps.emplace(name, std::move(fd));
    }
    kill_program = Fd(bpf_obj_get((path + "/packet_kill").c_str()));
    if (!kill_program) fail(path + "/packet_kill", errno);
    routes = maps.at("packet_routes").get();
    names_map = maps.at("packet_names").get();
    control =
        Mapped<packet_control>(maps.at("packet_control").get(), 1, protection, path + "/packet_control");
    flows = Mapped<packet_flow>(maps.at("packet_flows").get(), control->slots, protection,
                                path + "/packet_flows");
}

std::optional<packet_route> PacketSplice::Handles::find_route(const packet_tuple& key) const {
    packet_route route{};
    if (bpf_map_lookup_elem(routes, &key, &route) != 0) return std::nullopt;
    return route;
}

void PacketSplice::Handles::erase_routes(const packet_tuple& up_key) {
    const auto up = find_route(up_key);
    if (!up) return;
    const packet_tuple down_key = packet_reverse(up->leaves);
    bpf_map_delete_elem(routes, &down_key);
    bpf_map_delete_elem(routes, &up_key);
}

// An agent that is killed in the middle of insert() leaves a slot that is neither free nor live.
void PacketSplice::Handles::clear_leftovers() {
    for (std::uint32_t slot = 0; slot < control->slots_used; ++slot) {
        if (flows[slot].state != PACKET_SLOT_filling) continue;
        erase_routes(flows[slot].up);
        flows[slot] = packet_flow{};
    }
}

void PacketSplice::Handles::open_events() {
    const auto dispatch = [](void* context, void* data, std::size_t bytes) {
        const auto& handles = *static_cast<const Handles*>(context);
        __u32 kind = 0;
        std::memcpy(&kind, data, std::min(bytes, sizeof kind));
        if (kind == PACKET_EVENT_ended && bytes >= sizeof(packet_flow_end)) {
            if (*handles.on_end) (*handles.on_end)(*static_cast<const packet_flow_end*>(data));
        } else if (*handles.on_event) {
            (*handles.on_event)(data, bytes);
        }
        return 0;
    };
    ring.reset(ring_buffer__new(maps.at("packet_events").get(), dispatch, this, nullptr));
    if (!ring) fail(path + "/packet_events", errno);
}

std::optional<std::uint32_t> PacketSplice::Handles::take_slot() {
    const std::uint32_t slots = control->slots;
    for (std::uint32_t tried = 0; tried < slots && flows_in(control[0]) < slots; ++tried) {
        const std::uint32_t slot = next_slot;
        next_slot = next_slot + 1 < slots ? next_slot + 1 : 0;
        if (std::atomic_ref(flows[slot].state).load(std::memory_order_acquire) == PACKET_SLOT_free)
            return slot;
    }
    return std::nullopt;
}

void PacketSplice::Handles::fill(std::uint32_t slot, const PacketFlow& flow, const packet_tuple& up,
                                 std::uint64_t now_ns) {
    const auto mark_used = [this](std::vector<bool>& used) {
        for (std::uint32_t index = 0; index < control->slots_used; ++index) {
            if (flows[index].state != PACKET_SLOT_free)
                used[flows[index].server_name] = used[flows[index].rule] = true;
        }
    };
    packet_flow filled{};
    filled.id = flow.id;
    filled.accepted_ns = flow.accepted_ns;
    filled.up = up;
    filled.state = PACKET_SLOT_filling;
    filled.rule = names->intern(flow.rule, mark_used);
    filled.server_name = names->intern(flow.server_name, mark_used);
    filled.protocol = flow.protocol & 0x7f;
    filled.reason = flow.reason;
    filled.is_logged = flow.is_logged ? 1 : 0;
    filled.entered = static_cast<__u8>(now_ns >> 36);
    filled.look_at = static_cast<__u8>(now_ns >> PACKET_TICK_SHIFT);
    flows[slot] = filled;
    control->slots_used = std::max(control->slots_used, slot + 1);
}

// 0, or an errno.
int PacketSplice::Handles::insert_route(std::uint32_t slot, const PacketDirection& direction, bool is_down,
                                        std::uint64_t now_ns) {
    packet_route route = direction.route;
    route.is_down = is_down;
    route.slot = slot;
    route.active_ns = now_ns;
    if (std::memcmp(&direction.arrives, &route.leaves, sizeof route.leaves) != 0)
        route.flags |= PACKET_ROUTE_READDRESSED;
    return bpf_map_update_elem(routes, &direction.arrives, &route, BPF_NOEXIST) == 0 ? 0 : errno;
}

std::optional<flow_record> PacketSplice::Handles::record(const packet_flow& flow) const {
    const auto up = find_route(flow.up);
    const auto down = up ? find_route(packet_reverse(up->leaves)) : std::nullopt;
    if (!down) return std::nullopt;
    flow_record out = identity(flow);
    out.active_ns = std::max({up->active_ns, down->active_ns, flow.accepted_ns});
    out.up = {.bytes = bytes_acknowledged(*down), .packets = up->packets};
    out.down = {.bytes = bytes_acknowledged(*up), .packets = down->packets};
    return out;
}

flow_record PacketSplice::Handles::identity(const packet_flow& flow) const {
    const bool is_v4 = packet_is_v4(flow.up);
    flow_record out{};
    out.id = flow.id;
    out.accepted_ns = flow.accepted_ns;
    out.source = endpoint_of(flow.up.source, flow.up.source_port, is_v4);
    out.destination = endpoint_of(flow.up.destination, flow.up.destination_port, is_v4);
    out.state = FLOW_STATE_spliced;
    out.protocol = flow.protocol;
    out.mode = SPLICE_MODE_packet;
    out.reason = flow.reason;
    copy_text(out.rule, PacketNames::read(names_map, flow.rule));
    copy_text(out.server_name, PacketNames::read(names_map, flow.server_name));
    return out;
}

std::optional<std::uint32_t> PacketSplice::Handles::slot_of(std::uint64_t id) const {
    for (std::uint32_t slot = 0; slot < control->slots_used; ++slot) {
        if (flows[slot].state == PACKET_SLOT_live && flows[slot].id == id) return slot;
    }
    return std::nullopt;
}

PacketSplice::PacketSplice(std::unique_ptr<Handles> handles) : handles_(std::move(handles)) {}
PacketSplice::PacketSplice(PacketSplice&&) noexcept = default;
PacketSplice& PacketSplice::operator=(PacketSplice&&) noexcept = default;
PacketSplice::~PacketSplice() = default;

// Loads what is missing of maps and programs, and pins it; what is pinned is reused.
void PacketSplice::Handles::load(std::uint32_t slots) {
    skeleton = open_skeleton();
    bpf_map__set_max_entries(skeleton->maps.packet_routes, 2 * slots);
    bpf_map__set_max_entries(skeleton->maps.packet_flows, slots);
    for (const std::string& name : map_names(*skeleton)) {
        bpf_map* const map = bpf_object__find_map_by_name(skeleton->obj, name.c_str());
        bpf_map__set_pin_path(map, (path + "/" + name).c_str());
    }
    if (const int error = packet_splice__load(skeleton.get()); error != 0)
        fail("loading the packet splice into " + path, -error);
    const std::string kill_path = path + "/packet_kill";
    ::unlink(kill_path.c_str());
    if (const int error = bpf_program__pin(skeleton->progs.packet_kill, kill_path.c_str()); error != 0)
        fail(kill_path, -error);

    packet_control fresh{};
    fresh.abi_version = PACKET_ABI_VERSION;
    fresh.slots = slots;
    packet_control found{};
    const __u32 key = 0;
    const int map = bpf_map__fd(skeleton->maps.packet_control);
    if (bpf_map_lookup_elem(map, &key, &found) == 0 && found.abi_version == 0)
        bpf_map_update_elem(map, &key, &fresh, BPF_ANY);
}

PacketSplice PacketSplice::own(const std::string& state_directory, const PacketSpliceOptions& options) {
    auto handles = std::make_unique<Handles>();
    handles->path = state_directory;
    handles->load(settle_capacity(state_directory, options.flows_max));
    handles->open_maps(PROT_READ | PROT_WRITE);
    handles->control->idle_s = options.idle_s;
    handles->control->half_close_s = options.half_close_s;
    handles->clear_leftovers();
    handles->names.emplace(handles->names_map);
    handles->open_events();
    start_clock(*handles->skeleton);
    const auto& programs = handles->skeleton->progs;
    handles->interfaces.emplace(PacketPrograms{.ethernet_in = bpf_program__fd(programs.packet_ethernet_in),
                                               .ethernet_out = bpf_program__fd(programs.packet_ethernet_out),
                                               .bare_in = bpf_program__fd(programs.packet_bare_in),
                                               .bare_out = bpf_program__fd(programs.packet_bare_out)});
    return PacketSplice(std::move(handles));
}

PacketSplice PacketSplice::open(const std::string& state_directory) {
    auto handles = std::make_unique<Handles>();
    handles->path = state_directory;
    if (!pinned_control(state_directory)) fail(state_directory + "/packet_control", ENOENT);
    handles->open_maps(PROT_READ);
    return PacketSplice(std::move(handles));
}

void PacketSplice::remove_all(const std::string& state_directory) {
    PacketInterfaces::detach_all();
    unpin(state_directory);
}

std::expected<void, PacketRefusal> PacketSplice::insert(const PacketFlow& flow, const PacketDirection& up,
                                                        const PacketDirection& down) {
    Handles& handles = *handles_;
    const std::scoped_lock lock(handles.inserting);
    for (const PacketDirection* direction : {&up, &down}) {
        if (!handles.interfaces->carries(direction->route.ifindex))
            return std::unexpected(PacketRefusal::interface);
    }
    const auto slot = handles.take_slot();
    if (!slot) return std::unexpected(PacketRefusal::table_full);
    const std::uint64_t now_ns = monotonic_ns();
    handles.fill(*slot, flow, up.arrives, now_ns);
    int error = handles.insert_route(*slot, up, false, now_ns);
    if (error == 0) {
        error = handles.insert_route(*slot, down, true, now_ns);
        if (error != 0) bpf_map_delete_elem(handles.routes, &up.arrives);
    }
    std::atomic_ref state(handles.flows[*slot].state);
    state.store(error == 0 ? PACKET_SLOT_live : PACKET_SLOT_free, std::memory_order_release);
    if (error == EEXIST) return std::unexpected(PacketRefusal::tuple_in_use);
    if (error != 0) return std::unexpected(PacketRefusal::failed);
    ++handles.control->flows_inserted;
    return {};
}

bool PacketSplice::contains(const packet_tuple& arrives) const {
    return handles_->find_route(arrives).has_value();
}

std::vector<flow_record> PacketSplice::list() const {
    std::vector<flow_record> records;
    for (std::uint32_t slot = 0; slot < handles_->control->slots_used; ++slot) {
        const packet_flow flow = handles_->flows[slot];
        if (flow.state != PACKET_SLOT_live) continue;
        if (auto record = handles_->record(flow)) records.push_back(*record);
    }
    std::ranges::sort(records, {}, &flow_record::id);
    return records;
}

flow_record PacketSplice::record(const packet_flow_end& end) const {
    flow_record out = handles_->identity(end.flow);
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
    return handles_->control->flows_inserted - handles_->control->flows_closed;
}

bool PacketSplice::pass(std::uint32_t slot, std::uint64_t id) {
    if (handles_->flows[slot].id != id) return false;
    return run_with_slot(bpf_program__fd(handles_->skeleton->progs.packet_pass), slot);
}

bool PacketSplice::kill(std::uint64_t id) {
    const auto slot = handles_->slot_of(id);
    if (!slot) return false;
    const packet_tuple up_key = handles_->flows[*slot].up;
    if (!run_with_slot(handles_->kill_program.get(), *slot)) return false;
    // Nothing passes any more, so that the numbers stand still.
    const auto up = handles_->find_route(up_key);
    if (!up) return true;
    const packet_tuple down_key = packet_reverse(up->leaves);
    const auto down = handles_->find_route(down_key);
    if (!down) return true;
    reset_sender(up_key, *up, *down);
    reset_sender(down_key, *down, *up);
    return true;
}

int PacketSplice::events_fd() const {
    return ring_buffer__epoll_fd(handles_->ring.get());
}

void PacketSplice::read_events(const OnEnd& on_end, const OnEvent& on_event) {
    handles_->on_end = &on_end;
    handles_->on_event = &on_event;
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
    const auto found = handles_->maps.find(name);
    return found != handles_->maps.end() ? found->second.get() : -1;
}

int PacketSplice::program_fd(std::string_view name) const {
    if (!handles_->skeleton) return -1;
    const bpf_program* const program =
        bpf_object__find_program_by_name(handles_->skeleton->obj, std::string(name).c_str());
    return program ? bpf_program__fd(program) : -1;
}

void packet_address(__u32 (&out)[4], const void* bytes, bool is_v4) {
    std::memset(out, 0, sizeof out);
    if (is_v4) out[2] = __builtin_bswap32(0xffff);
    std::memcpy(is_v4 ? &out[3] : &out[0], bytes, is_v4 ? 4 : 16);
}

packet_tuple packet_reverse(const packet_tuple& tuple) {
    packet_tuple reversed{};
    std::memcpy(reversed.source, tuple.destination, sizeof reversed.source);
    std::memcpy(reversed.destination, tuple.source, sizeof reversed.destination);
    reversed.source_port = tuple.destination_port;
    reversed.destination_port = tuple.source_port;
    return reversed;
}

bool packet_is_v4(const packet_tuple& tuple) {
    return tuple.source[0] == 0 && tuple.source[1] == 0 && tuple.source[2] == __builtin_bswap32(0xffff);
}

}  // namespace sluice::datapath
