#pragma once
// The flow table: pinned BPF maps in a state directory on bpffs (default /sys/fs/bpf/sluice), shared by the
// agent that writes them and the CLI that reads them, also while no agent runs. Layout: bpf/flow_abi.h.
//
// Who is alive is told by a lock, not by a record: the agent holds flock(2) on the directory for as long as
// it lives, and the kernel takes it away from a killed one.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/flow_abi.h"

struct ring_buffer;

namespace sluice::datapath {

inline constexpr std::string_view default_state_directory = "/sys/fs/bpf/sluice";

// Words of the lists in flow_abi.h; "?" for a value outside the list.
std::string_view flow_end_word(unsigned value);
std::string_view splice_mode_word(unsigned value);
std::string_view splice_reason_word(unsigned value);
std::string_view flow_state_word(unsigned value);

// The state directory cannot be used; what() names it and the cause in one line.
struct StateError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class FlowTable {
  public:
    // For the agent: takes the lock, loads and pins what is missing, adopts what is there, mounts bpffs on
    // /sys/fs/bpf if nothing is mounted. Throws StateError, also when another agent holds the lock or the
    // maps have another ABI version.
    static FlowTable own(const std::string& directory);

    // For readers. Throws StateError; in particular when no agent has ever run with this directory.
    static FlowTable open(const std::string& directory);

    FlowTable(FlowTable&&) noexcept;
    FlowTable& operator=(FlowTable&&) noexcept;
    ~FlowTable();

    // Thread-safe: each is one system call. put() of a full table returns false: the flow goes on, unlisted.
    bool put(const flow_record& record);
    void erase(std::uint64_t id);
    std::optional<flow_record> find(std::uint64_t id) const;
    std::vector<flow_record> list() const;  // in order of id

    void write_agent(const agent_record& record);
    agent_record read_agent() const;
    bool agent_is_running() const;  // for readers: does anybody hold the lock?

    // Asks the running agent to end a flow. False: it does not read its events.
    bool request_kill(std::uint64_t id);

    // For the agent: readable when kill requests wait; read_events() hands each flow id to `kill`.
    int events_fd() const;
    void read_events(const std::function<void(std::uint64_t)>& kill);

  private:
    struct Handles;
    explicit FlowTable(std::unique_ptr<Handles> handles);
    std::unique_ptr<Handles> handles_;
};

}  // namespace sluice::datapath
