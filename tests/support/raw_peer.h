#pragma once
// One end of a TCP connection over IPv4 in which the test itself is the TCP: it says what no kernel would.
// The kernel of its namespace sees the packets too, but its RSTs do not leave.
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "policy/address.h"
#include "tests/support/netns.h"
#include "tests/support/wait.h"

namespace sluice::test {

enum class RawChecksum : std::uint8_t {
    right,
    wrong,
    unfinished,  // of the pseudo header only, as in packets that a device is still to complete: wrong on a
                 // wire
};

// Flags are those of <netinet/tcp.h>.
struct RawSegment {
    std::uint8_t flags = 0;
    std::optional<std::uint32_t> seq = {};  // else what comes next
    std::optional<std::uint32_t> ack = {};
    std::string payload = {};
    RawChecksum checksum = RawChecksum::right;
};

class RawPeer {
  public:
    RawPeer(const Netns& netns, const policy::Endpoint& local, const policy::Endpoint& remote);
    ~RawPeer();
    RawPeer(const RawPeer&) = delete;
    RawPeer& operator=(const RawPeer&) = delete;

    std::uint32_t seq = 1'000'000'000;  // of the next byte to send
    std::uint32_t ack = 0;              // of the next byte expected

    void send(const RawSegment& segment) const;
    // Nothing within the deadline: no value. Segments of other tuples are not seen.
    std::optional<RawSegment> receive(milliseconds deadline = deadline_default) const;

    // The three-way handshake, as the client. False: an RST came, or nothing.
    bool connect();
    // As the server: answers one SYN, after `before_the_answer`. False: none came.
    bool accept(const std::function<void()>& before_the_answer = {});
    void say(std::string_view bytes);  // one segment
    // What comes, in order, acknowledged, up to `bytes` of it; less when an RST or a FIN comes or nothing
    // does.
    std::string hear(std::size_t bytes, milliseconds deadline = deadline_default);
    bool was_reset() const { return was_reset_; }

  private:
    std::optional<RawSegment> parse(std::string_view packet) const;

    const Netns& netns_;
    policy::Endpoint local_;
    policy::Endpoint remote_;
    std::string table_;
    int sender_;
    int receiver_;
    bool was_reset_ = false;
};

}  // namespace sluice::test
