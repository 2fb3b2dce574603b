#include "tests/support/wire.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <queue>
#include <random>
#include <system_error>
#include <vector>

namespace sluice::test {
namespace {

using Time = std::chrono::steady_clock::time_point;

constexpr std::size_t frame_bytes_max = 65'536;
constexpr std::size_t ethernet_bytes = 14;
constexpr int frames_per_turn = 256;  // of one end, before the other's are looked at
constexpr std::uint64_t seed = 20'240'229;

int open_tap(const WireEnd& end) {
    const int tap = end.netns.run([&] {
        const int descriptor = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
        ifreq request{};
        request.ifr_flags = IFF_TAP | IFF_NO_PI;
        end.device.copy(request.ifr_name, IFNAMSIZ - 1);
        if (descriptor < 0 || ::ioctl(descriptor, TUNSETIFF, &request) != 0)
            throw std::system_error(errno, std::generic_category(), "/dev/net/tun");
        return descriptor;
    });
    // What does not fit is lost: more than a window of a gigabit's at 100 ms.
    end.netns.ip("link set " + end.device + " txqueuelen 10000\n");
    return tap;
}

bool is_tcp(const std::string& frame) {
    constexpr char tcp = 6;
    if (frame.size() < ethernet_bytes + 40) return false;
    if (frame[12] == '\x08' && frame[13] == '\x00') return frame[ethernet_bytes + 9] == tcp;
    return frame[12] == '\x86' && frame[13] == '\xdd' && frame[ethernet_bytes + 6] == tcp;
}

struct Frame {
    Time due;
    std::uint64_t number = 0;  // of two that are due at once the first is first
    int to = 0;                // index of an end
    std::string bytes;

    friend bool operator>(const Frame& a, const Frame& b) {
        return a.due != b.due ? a.due > b.due : a.number > b.number;
    }
};

}  // namespace

// The frames under way.
class Wire::Carrier {
  public:
    explicit Carrier(Wire& wire) : wire_(wire) {}

    void take_in(int from) {
        std::array<char, frame_bytes_max> buffer;
        for (int i = 0; i < frames_per_turn; ++i) {
            const ssize_t bytes = ::read(wire_.ends_[from], buffer.data(), buffer.size());
            if (bytes <= 0) return;
            send({buffer.data(), static_cast<std::size_t>(bytes)}, 1 - from);
        }
    }

    // Delivers what is due; how long until the next is, in milliseconds, rounded down.
    int give_out() {
        while (!under_way_.empty()) {
            const Frame& next = under_way_.top();
            const auto left = next.due - std::chrono::steady_clock::now();
            if (left > Time::duration::zero())
                return static_cast<int>(std::chrono::duration_cast<milliseconds>(left).count());
            static_cast<void>(::write(wire_.ends_[next.to], next.bytes.data(), next.bytes.size()));
            under_way_.pop();
        }
        return 100;
    }

  private:
    bool happens(unsigned of_a_thousand) { return random_() % 1000 < of_a_thousand; }

    void send(std::string frame, int to) {
        const WireOptions& options = wire_.options_;
        Time due = std::chrono::steady_clock::now();
        if (is_tcp(frame)) {
            due += options.delay;
            if (happens(options.lost)) {
                ++wire_.lost_;
                return;
            }
            if (happens(options.damaged)) {
                ++wire_.damaged_;
                const std::size_t bit = random_() % ((frame.size() - ethernet_bytes) * 8);
                frame[ethernet_bytes + bit / 8] ^= static_cast<char>(1 << bit % 8);
            }
            if (happens(options.late)) due += std::chrono::microseconds(random_() % 5000);
            if (happens(options.doubled)) under_way_.push({due, number_++, to, frame});
        }
        under_way_.push({due, number_++, to, std::move(frame)});
    }

    Wire& wire_;
    std::mt19937_64 random_{seed};
    std::uint64_t number_ = 0;
    std::priority_queue<Frame, std::vector<Frame>, std::greater<>> under_way_;
};

Wire::Wire(const WireEnd& one, const WireEnd& other, const WireOptions& options)
    : options_(options),
      ends_{open_tap(one), open_tap(other)},
      thread_([this](const std::stop_token& stop) { carry(stop); }) {}

Wire::~Wire() {
    thread_.request_stop();
    thread_.join();
    for (const int end : ends_)
        ::close(end);
}

void Wire::carry(const std::stop_token& stop) {
    Carrier carrier(*this);
    while (!stop.stop_requested()) {
        const int wait_ms = carrier.give_out();
        std::array<pollfd, 2> ready{pollfd{ends_[0], POLLIN, 0}, pollfd{ends_[1], POLLIN, 0}};
        // At least a millisecond's rest, unless frames come: a frame may be so much late.
        ::poll(ready.data(), ready.size(), wait_ms + 1);
        for (const int from : {0, 1}) {
            if ((ready[static_cast<std::size_t>(from)].revents & POLLIN) != 0) carrier.take_in(from);
        }
    }
}

}  // namespace sluice::test
