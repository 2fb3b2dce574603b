#pragma once
// Two pairs of sockets on the loopback, and what the agent does for a pair in the maps; for the sockmap's
// tests.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "tests/support/byte_stream.h"
#include "tests/support/netns.h"
#include "tests/support/tcp_socket.h"
#include "userspace/datapath/sockmap.h"

namespace sluice::test {

using datapath::Sockmap;

// client.far <-> client.near | server.near <-> server.far
struct Leg {
    explicit Leg(const Netns& netns) {
        netns.run([&] {
            sockaddr_in address{};
            address.sin_family = AF_INET;
            address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            auto* generic = reinterpret_cast<sockaddr*>(&address);
            socklen_t size = sizeof address;
            const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
            ::bind(listener, generic, size);
            ::listen(listener, 1);
            ::getsockname(listener, generic, &size);
            const int one = ::socket(AF_INET, SOCK_STREAM, 0);
            ::connect(one, generic, size);
            far.emplace(one);
            near.emplace(::accept(listener, nullptr, nullptr));
            ::close(listener);
        });
    }
    std::optional<TcpSocket> far;
    std::optional<TcpSocket> near;
};

class SockmapTest : public testing::Test {
  protected:
    std::optional<Sockmap::Inserted> insert() {
        return map.insert(client.near->descriptor(), server.near->descriptor());
    }
    const Netns netns{"sockmap"};
    Sockmap map{4};
    Leg client{netns};
    Leg server{netns};
};

// What the agent does for one direction, in a loop: nothing is read before what was redirected is through.
class PassedBytes {
  public:
    // `base`: bytes_written(to) before the insertion. `from` is the pair's side `side`.
    PassedBytes(Sockmap& map, Sockmap::Pair pair, TcpSocket& from, TcpSocket& to, std::uint64_t base,
                Sockmap::Side side = Sockmap::client)
        : map_(map), pair_(pair), side_(side), from_(from), to_(to), base_(base) {}

    bool drained() const {
        const auto written = datapath::bytes_written(to_.descriptor());
        return written && *written - base_ == map_.leg(pair_, side_).redirected + consumed_;
    }
    // Does not wait. False: there was nothing to do, or the receiver takes nothing.
    bool relay() {
        if (kept_.empty() && (map_.leg(pair_, side_).passed == consumed_ || !drained())) return false;
        // On, if it waits where it holds up the other direction.
        while (kept_.empty() || (map_.leg(pair_, side_).stray > 0 && kept_.size() < (2u << 20))) {
            std::string some(65'536, '\0');
            const ssize_t n = ::recv(from_.descriptor(), some.data(), some.size(), MSG_DONTWAIT);
            if (n <= 0 && kept_.empty()) return false;
            if (n <= 0) break;
            kept_.append(some, 0, static_cast<std::size_t>(n));
        }
        const ssize_t n = ::send(to_.descriptor(), kept_.data(), kept_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0) return false;
        kept_.erase(0, static_cast<std::size_t>(n));
        consumed_ += static_cast<std::uint64_t>(n);
        if (kept_.empty()) map_.consume(pair_, side_, consumed_);
        return true;
    }
    std::uint64_t consumed() const { return consumed_; }
    std::uint64_t carried() const { return map_.leg(pair_, side_).redirected + consumed_; }

  private:
    Sockmap& map_;
    Sockmap::Pair pair_;
    Sockmap::Side side_;
    TcpSocket& from_;
    TcpSocket& to_;
    std::uint64_t base_;
    std::uint64_t consumed_ = 0;
    std::string kept_;
};

inline void set_buffer(const TcpSocket& socket, int name, int bytes) {
    ::setsockopt(socket.descriptor(), SOL_SOCKET, name, &bytes, sizeof bytes);
}

}  // namespace sluice::test
