#pragma once
// The kernel's side of splice mode `sockmap`: two maps of sockets, the program that moves bytes between the
// two of a pair, and its account of them (bpf/sockmap_abi.h). One thread per object. The sockets stay the
// caller's.
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "bpf/sockmap_abi.h"

namespace sluice::datapath {

// The kernel does not have what is needed; what() says what, in one line.
struct SockmapError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Sockmap {
  public:
    using Pair = std::uint32_t;
    enum Side : std::uint32_t { client = 0, server = 1 };

    // Room for so many pairs. Throws SockmapError.
    explicit Sockmap(std::uint32_t pairs_max);
    ~Sockmap();
    Sockmap(const Sockmap&) = delete;
    Sockmap& operator=(const Sockmap&) = delete;

    struct Inserted {
        Pair pair;
        bool plain;  // the server's side got its FIN in this moment: the agent reads it as any socket
    };

    // From now on the kernel carries what the two connected TCP sockets (no MPTCP) receive, what waits unread
    // in them first. The caller has written all that it has read, and from now on reads and writes only what
    // leg() allows. Nothing: one of them cannot be taken (it has got its FIN, for example), and nothing has
    // been touched.
    std::optional<Inserted> insert(int client_socket, int server_socket);

    // The account of what this side sent. The program may be writing it: each member is current, not all
    // together. While `passed` is more than `consumed`, `redirected` stands still: once the other socket has
    // taken that (bytes_written), recv() may be called, and what it yields be written there.
    const volatile sockmap_leg& leg(Pair pair, Side side) const;

    // So many of the passed bytes have been read and written. When they are all, the program redirects again.
    void consume(Pair pair, Side side, std::uint64_t bytes);

    // To be called before looking at a leg, so that what changes afterwards is told of.
    void listen(Pair pair, Side side);

    // Frees the pair, before its sockets are closed. What is still on its way is lost. A socket cannot leave
    // alone, and go on: deleting it from the map does not take its lock, and a segment for which the program
    // is about to be run then finds none, and is dropped, acknowledged (sk_psock_verdict_recv,
    // net/core/skmsg.c).
    void remove(Pair pair);

    std::uint32_t pairs() const;  // each Pair is less

    // Readable when the program has something to tell of a pair.
    int events_fd() const;
    void read_events(const std::function<void(Pair)>& tell);

  private:
    struct Handles;
    std::unique_ptr<Handles> handles_;
};

// How many bytes have been written to a socket since some fixed point, sent or not; nothing while it cannot
// be told.
std::optional<std::uint64_t> bytes_written(int socket);

// Whether sockmaps of the running kernel can be trusted: its version, and a try on the loopback of this
// namespace. Nothing: they can. Else why not, in a few words.
std::optional<std::string> sockmap_self_test();

}  // namespace sluice::datapath
