#pragma once
// A network namespace with a name, so that a person can look into it while a test stands still in a debugger:
// `ip netns exec sluice-<pid>-gateway ...`. Needs root.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace sluice::test {

class Netns {
  public:
    // Creates `sluice-<pid of this process>-<role>`, with `lo` up.
    explicit Netns(std::string_view role);
    ~Netns();
    Netns(const Netns&) = delete;
    Netns& operator=(const Netns&) = delete;

    const std::string& name() const { return name_; }
    int descriptor() const { return descriptor_; }  // for setns(2), owned by this object

    // Calls `function` on this thread, inside the namespace. What it creates there (sockets) stays there.
    template <class Function>
    decltype(auto) run(Function&& function) const {
        const Inside inside(*this);
        return std::forward<Function>(function)();
    }

    // Runs `ip -batch` and `tc -batch` with these lines inside; throws with the tool's own words.
    void ip(std::string_view lines) const;
    void tc(std::string_view lines) const;
    // Writes /proc/sys/<key>, e.g. "net/ipv4/ip_forward".
    void sysctl(std::string_view key, std::string_view value) const;
    // A counter of this namespace's TCP stack since it was made, as /proc/net/snmp and netstat name it:
    // "RetransSegs", "TCPWinProbe".
    std::uint64_t tcp_counter(std::string_view name) const;
    std::optional<std::uint64_t> find_tcp_counter(std::string_view name) const;  // not every kernel has all
    // TCP segments that reached it, SYNs to closed ports included.
    std::uint64_t tcp_segments_received() const { return tcp_counter("InSegs"); }

    // Removes namespaces whose process is dead: what a killed test left behind.
    static void remove_leftovers();

  private:
    class Inside {
      public:
        explicit Inside(const Netns& netns);
        ~Inside();
        Inside(const Inside&) = delete;
        Inside& operator=(const Inside&) = delete;

      private:
        int outside_;
    };

    std::string name_;
    int descriptor_ = -1;
};

}  // namespace sluice::test
