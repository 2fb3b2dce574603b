#pragma once
// The packet splice's BPF object and what of it is pinned in the state directory: every map, and the program
// that kills a flow, for those who do so without an agent.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bpf/packet_abi.h"

struct packet_splice;  // generated from bpf/packet_splice.bpf.c

namespace sluice::datapath {

struct PacketSkeletonDeleter {
    void operator()(packet_splice* skeleton) const;
};
using PacketSkeleton = std::unique_ptr<packet_splice, PacketSkeletonDeleter>;

// Loads what is missing of maps and programs, and pins it; what is pinned is reused. `flows_max` is the
// capacity wanted, 0: by the host's memory. Pinned maps keep theirs while flows are in them. Throws
// StateError.
PacketSkeleton load_packet_splice(const std::string& directory, std::uint32_t flows_max);

// Makes the kernel collect dead entries by itself from here on. Throws StateError.
void start_packet_clock(const packet_splice& skeleton);

// Nothing pinned: none. Throws StateError for one of another version.
std::optional<packet_control> pinned_packet_control(const std::string& directory);

// Nothing there is not an error. Throws StateError.
void unpin_packet_splice(const std::string& directory);

std::vector<std::string> packet_map_names();

}  // namespace sluice::datapath
