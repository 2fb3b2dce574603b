#pragma once
// The interfaces of a network namespace that the packet splice's programs are attached to: all of them but
// loopback and those whose packets begin with something that the programs cannot read. Attached as TC filters
// (clsact) with a handle and a priority of our own; other people's filters stay as they are, and see what our
// programs leave alone.
#include <cstdint>
#include <map>

#include "userspace/datapath/fd.h"

namespace sluice::datapath {

// Descriptors of loaded programs, by what an interface's packets begin with.
struct PacketPrograms {
    int ethernet_in = -1;
    int ethernet_out = -1;
    int bare_in = -1;  // no link header: the network header is first
    int bare_out = -1;
};

class PacketInterfaces {
  public:
    // Attaches to every interface of the calling thread's network namespace, in place of what an earlier
    // agent attached. Throws StateError when that fails for one.
    explicit PacketInterfaces(const PacketPrograms& programs);

    int fd() const { return watch_.get(); }  // readable: links changed
    void attach_new();                       // reads all of it; an interface that is gone again is no error

    bool carries(std::uint32_t ifindex) const { return attached_.contains(ifindex); }

    // Takes our filters off every interface of the calling thread's namespace.
    static void detach_all();

  private:
    void attach_all(bool must);

    PacketPrograms programs_;
    Fd watch_;
    std::map<std::uint32_t, std::uint64_t> attached_;  // interface -> round in which it was last seen
    std::uint64_t round_ = 0;
};

}  // namespace sluice::datapath
