#include "userspace/datapath/flow_table.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <flow_table.skel.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "userspace/datapath/fd.h"

namespace sluice::datapath {
namespace {

#define X(word) #word,
constexpr std::array flow_end_words = {FLOW_END_LIST(X)};
constexpr std::array splice_mode_words = {SPLICE_MODE_LIST(X)};
constexpr std::array splice_reason_words = {SPLICE_REASON_LIST(X)};
constexpr std::array flow_state_words = {FLOW_STATE_LIST(X)};
#undef X

// Twice the table: a walk that flows' ends keep restarting stops at some point.
constexpr std::size_t flows_walked_max = 1 << 21;

template <std::size_t N>
std::string_view word(const std::array<const char*, N>& words, unsigned value) {
    return value < N ? words[value] : "?";
}

[[noreturn]] void fail(const std::string& what, int error) {
    throw StateError(what + ": " + std::strerror(error));
}

void mount_bpffs_if_missing(const std::string& directory) {
    constexpr const char* bpffs = "/sys/fs/bpf";
    if (!directory.starts_with(bpffs)) return;
    struct statfs info{};
    if (statfs(bpffs, &info) == 0 && info.f_type == BPF_FS_MAGIC) return;
    if (mount("bpffs", bpffs, "bpf", 0, "mode=0700") != 0) fail("mounting bpffs on /sys/fs/bpf", errno);
}

Fd open_directory(const std::string& directory) {
    return Fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

Fd open_pinned(const std::string& path) {
    return Fd(bpf_obj_get(path.c_str()));
}

// The version is the record's first field in every ABI version, whatever the record's size has become since.
void check_abi_version(const Fd& agent_map, const std::string& directory) {
    bpf_map_info info{};
    __u32 info_bytes = sizeof info;
    if (bpf_obj_get_info_by_fd(agent_map.get(), &info, &info_bytes) != 0) fail(directory + "/agent", errno);
    std::vector<char> value(info.value_size);
    const __u32 key = 0;
    if (bpf_map_lookup_elem(agent_map.get(), &key, value.data()) != 0) fail(directory + "/agent", errno);
    __u32 version = 0;
    std::memcpy(&version, value.data(), std::min(value.size(), sizeof version));
    const bool never_written = version == 0;
    if (never_written || version == FLOW_ABI_VERSION) return;
    throw StateError(directory + ": written by another version of sluice (flow ABI " +
                     std::to_string(version) + ", this one has " + std::to_string(FLOW_ABI_VERSION) +
                     "); `sluice remove` takes it away");
}

struct SkeletonDeleter {
    void operator()(flow_table* skeleton) const { flow_table__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<flow_table, SkeletonDeleter>;

// Loads the maps and the program; a map that is already pinned is reused, else it is pinned.
void load_and_pin(const std::string& directory) {
    const Skeleton skeleton(flow_table__open());
    if (!skeleton) fail("opening the flow table's BPF object", errno);
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton->obj) {
        bpf_map__set_pin_path(map, (directory + "/" + bpf_map__name(map)).c_str());
    }
    if (int error = flow_table__load(skeleton.get()); error != 0)
        fail("loading the flow table into " + directory, -error);
    const std::string program = directory + "/kill_flow";
    ::unlink(program.c_str());
    if (int error = bpf_program__pin(skeleton->progs.kill_flow, program.c_str()); error != 0)
        fail(program, -error);
}

int silence(libbpf_print_level, const char*, va_list) {
    return 0;  // every failure is reported by us, once, with the object's name
}

}  // namespace

std::string_view flow_end_word(unsigned value) {
    return word(flow_end_words, value);
}
std::string_view splice_mode_word(unsigned value) {
    return word(splice_mode_words, value);
}
std::string_view splice_reason_word(unsigned value) {
    return word(splice_reason_words, value);
}
std::string_view flow_state_word(unsigned value) {
    return word(flow_state_words, value);
}

struct FlowTable::Handles {
    std::string path;
    Fd directory;  // carries the agent's lock
    Fd flows;
    Fd agent;
    Fd events;
    Fd kill_flow;
    std::unique_ptr<ring_buffer, void (*)(ring_buffer*)> ring{nullptr, ring_buffer__free};
    std::function<void(std::uint64_t)> kill;

    void open_maps() {
        flows = require("flows");
        agent = require("agent");
        events = require("events");
        kill_flow = require("kill_flow");
    }

  private:
    Fd require(const char* name) const {
        const std::string object = path + "/" + name;
        Fd fd = open_pinned(object);
        if (!fd) fail(object, errno);
        return fd;
    }
};

FlowTable::FlowTable(std::unique_ptr<Handles> handles) : handles_(std::move(handles)) {}
FlowTable::FlowTable(FlowTable&&) noexcept = default;
FlowTable& FlowTable::operator=(FlowTable&&) noexcept = default;
FlowTable::~FlowTable() = default;

FlowTable FlowTable::own(const std::string& directory) {
    libbpf_set_print(silence);
    mount_bpffs_if_missing(directory);
    if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) fail(directory, errno);
    auto handles = std::make_unique<Handles>();
    handles->path = directory;
    handles->directory = open_directory(directory);
    if (!handles->directory) fail(directory, errno);
    if (flock(handles->directory.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            throw StateError(directory + ": another sluice agent is running with this state");
        fail(directory, errno);
    }
    if (const Fd agent = open_pinned(directory + "/agent")) check_abi_version(agent, directory);
    load_and_pin(directory);
    handles->open_maps();

    Handles* raw = handles.get();  // stable: the callback's context must survive moves of the table
    const auto on_event = [](void* context, void* data, std::size_t bytes) {
        if (bytes < sizeof(kill_event)) return 0;
        static_cast<Handles*>(context)->kill(static_cast<const kill_event*>(data)->flow_id);
        return 0;
    };
    handles->ring.reset(ring_buffer__new(handles->events.get(), on_event, raw, nullptr));
    if (!handles->ring) fail(directory + "/events", errno);
    return FlowTable(std::move(handles));
}

FlowTable FlowTable::open(const std::string& directory) {
    libbpf_set_print(silence);
    auto handles = std::make_unique<Handles>();
    handles->path = directory;
    handles->directory = open_directory(directory);
    if (!handles->directory && errno == ENOENT) {
        throw StateError(directory +
                         ": no flow table here: no agent has run with this state since the last boot");
    }
    if (!handles->directory) fail(directory, errno);
    if (const Fd agent = open_pinned(directory + "/agent")) check_abi_version(agent, directory);
    handles->open_maps();
    return FlowTable(std::move(handles));
}

bool FlowTable::put(const flow_record& record) {
    return bpf_map_update_elem(handles_->flows.get(), &record.id, &record, BPF_ANY) == 0;
}

void FlowTable::erase(std::uint64_t id) {
    bpf_map_delete_elem(handles_->flows.get(), &id);
}

std::optional<flow_record> FlowTable::find(std::uint64_t id) const {
    flow_record record{};
    if (bpf_map_lookup_elem(handles_->flows.get(), &id, &record) != 0) return std::nullopt;
    return record;
}

std::vector<flow_record> FlowTable::list() const {
    // Keys first: a flow that ends while we walk would otherwise restart the walk at the first bucket.
    std::vector<__u64> ids;
    __u64 id = 0;
    int error = bpf_map_get_next_key(handles_->flows.get(), nullptr, &id);
    while (error == 0 && ids.size() < flows_walked_max) {
        ids.push_back(id);
        error = bpf_map_get_next_key(handles_->flows.get(), &id, &id);
    }
    std::ranges::sort(ids);
    const auto repeated = std::ranges::unique(ids);
    ids.erase(repeated.begin(), repeated.end());
    std::vector<flow_record> records;
    records.reserve(ids.size());
    for (const __u64 listed : ids) {
        if (auto record = find(listed)) records.push_back(*record);
    }
    return records;
}

void FlowTable::write_agent(const agent_record& record) {
    const __u32 key = 0;
    bpf_map_update_elem(handles_->agent.get(), &key, &record, BPF_ANY);
}

agent_record FlowTable::read_agent() const {
    const __u32 key = 0;
    agent_record record{};
    bpf_map_lookup_elem(handles_->agent.get(), &key, &record);
    return record;
}

bool FlowTable::agent_is_running() const {
    const Fd probe = open_directory(handles_->path);
    return probe && flock(probe.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

bool FlowTable::request_kill(std::uint64_t id) {
    kill_event event{.flow_id = id};
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.ctx_in = &event;
    options.ctx_size_in = sizeof event;
    return bpf_prog_test_run_opts(handles_->kill_flow.get(), &options) == 0 && options.retval == 0;
}

int FlowTable::events_fd() const {
    return ring_buffer__epoll_fd(handles_->ring.get());
}

void FlowTable::read_events(const std::function<void(std::uint64_t)>& kill) {
    handles_->kill = kill;
    ring_buffer__consume(handles_->ring.get());
}

}  // namespace sluice::datapath
