#include "userspace/datapath/packet_pins.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <packet_splice.skel.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "userspace/datapath/fd.h"
#include "userspace/datapath/flow_table.h"

namespace sluice::datapath {

namespace {

constexpr std::uint32_t flows_max_limit = 1'000'000;
constexpr std::uint32_t flows_max_floor = 1024;
// Of a host's memory: a million flows on 24 GiB.
constexpr std::uint64_t memory_per_flow_bytes = 24ULL * 1024 * 1024 * 1024 / flows_max_limit;

std::uint32_t capacity_of_host() {
    const auto pages = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES));
    const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(pages * page_bytes / memory_per_flow_bytes,
                                                                flows_max_floor, flows_max_limit));
}

[[noreturn]] void fail(const std::string& what, int error) {
    throw StateError(what + ": " + std::strerror(error));
}

int silence(libbpf_print_level, const char*, va_list) {
    return 0;  // every failure is reported by us, once, with the object's name
}

PacketSkeleton open_skeleton() {
    libbpf_set_print(silence);
    PacketSkeleton skeleton(packet_splice__open());
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

// How many flows the table to be loaded holds. What is pinned with another capacity, but empty, is removed.
std::uint32_t settle_capacity(const std::string& directory, std::uint32_t wanted) {
    const std::uint32_t capacity = wanted != 0 ? wanted : capacity_of_host();
    const auto pinned = pinned_packet_control(directory);
    if (!pinned) {
        unpin_packet_splice(directory);  // the rest of a removal, or of a start, that was interrupted
        return capacity;
    }
    if (pinned->slots == capacity || pinned->flows_inserted != pinned->flows_ended) return pinned->slots;
    unpin_packet_splice(directory);
    return capacity;
}

}  // namespace

void PacketSkeletonDeleter::operator()(packet_splice* skeleton) const {
    packet_splice__destroy(skeleton);
}

std::vector<std::string> packet_map_names() {
    return map_names(*open_skeleton());
}

void unpin_packet_splice(const std::string& directory) {
    std::vector<std::string> names = packet_map_names();
    names.emplace_back("packet_kill");
    for (const std::string& name : names) {
        const std::string path = (std::filesystem::path(directory) / name).string();
        if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail(path, errno);
    }
}

// The version comes first in every ABI version. Nothing pinned: no control.
std::optional<packet_control> pinned_packet_control(const std::string& directory) {
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
                         std::to_string(PACKET_ABI_VERSION) + "); `sluice remove` takes them away");
    }
    return control;
}

PacketSkeleton load_packet_splice(const std::string& directory, std::uint32_t flows_max) {
    const std::uint32_t slots = settle_capacity(directory, flows_max);
    PacketSkeleton skeleton = open_skeleton();
    bpf_map__set_max_entries(skeleton->maps.packet_routes, 2 * slots);
    bpf_map__set_max_entries(skeleton->maps.packet_flows, slots);
    for (const std::string& name : map_names(*skeleton)) {
        bpf_map* const map = bpf_object__find_map_by_name(skeleton->obj, name.c_str());
        bpf_map__set_pin_path(map, (std::filesystem::path(directory) / name).c_str());
    }
    if (const int error = packet_splice__load(skeleton.get()); error != 0)
        fail("loading the packet splice into " + directory, -error);
    const std::string kill_path = directory + "/packet_kill";
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
    return skeleton;
}

void start_packet_clock(const packet_splice& skeleton) {
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

}  // namespace sluice::datapath
