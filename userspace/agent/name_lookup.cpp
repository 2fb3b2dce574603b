#include "userspace/agent/name_lookup.h"

#include <netdb.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "userspace/agent/socket_address.h"

namespace sluice::agent {
namespace {

// How soon after the last look a place is looked for again.
constexpr std::chrono::milliseconds place_interval{20};

// How many go on, in all and for whom. Never destroyed: a thread may outlive main().
class Places {
  public:
    bool take(const policy::IpAddress& client) {
        const std::lock_guard lock(mutex_);
        unsigned& of_client = of_clients_[client];
        const bool has_room = taken_ < lookups_max && of_client < lookups_of_client_max;
        taken_ += has_room ? 1 : 0;
        of_client += has_room ? 1 : 0;
        if (of_client == 0) of_clients_.erase(client);
        return has_room;
    }
    void give_back(const policy::IpAddress& client) {
        const std::lock_guard lock(mutex_);
        --taken_;
        if (--of_clients_[client] == 0) of_clients_.erase(client);
    }

  private:
    std::mutex mutex_;
    unsigned taken_ = 0;
    std::map<policy::IpAddress, unsigned> of_clients_;
};

Places& places() {
    static Places* const of_the_agent = new Places;
    return *of_the_agent;
}

// Shared by the flow that waits and the thread that looks: either may be gone first.
struct Lookup {
    std::string name;
    policy::IpAddress client;
    datapath::Fd done;  // readable when `is_done`
    std::vector<policy::IpAddress> addresses;
    std::atomic<bool> is_done = false;
};

void run(Lookup& lookup) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG;
    addrinfo* found = nullptr;
    if (::getaddrinfo(lookup.name.c_str(), nullptr, &hints, &found) == 0) {
        for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
            SocketAddress address;
            std::copy_n(reinterpret_cast<const char*>(info->ai_addr), info->ai_addrlen,
                        reinterpret_cast<char*>(address.get()));
            lookup.addresses.push_back(address.endpoint().address);
        }
        ::freeaddrinfo(found);
    }
    lookup.is_done = true;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(lookup.done.get(), &one, sizeof one);
}

// False: too many at once.
bool start(const std::shared_ptr<Lookup>& lookup) {
    if (!places().take(lookup->client)) return false;
    try {
        std::thread([lookup] {
            run(*lookup);
            places().give_back(lookup->client);
        }).detach();
        return true;
    } catch (const std::system_error&) {  // no room for a thread
        places().give_back(lookup->client);
        return false;
    }
}

}  // namespace

asio::awaitable<std::expected<std::vector<policy::IpAddress>, flow_end>> look_up(
    std::string name, Reactor& reactor, Socket& downstream, Patience& patience, policy::IpAddress client,
    Clock::time_point until) {
    auto lookup = std::make_shared<Lookup>();
    lookup->name = std::move(name);
    lookup->client = client;
    lookup->done = datapath::Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    Socket done(reactor, datapath::Fd(lookup->done ? ::dup(lookup->done.get()) : -1));
    if (done.native() < 0) co_return std::unexpected(FLOW_END_name_unresolved);
    while (!start(lookup) && Clock::now() < until && !patience.ended() && !downstream.failed) {
        patience.last_until(std::min(until, Clock::now() + place_interval));
        co_await patience.readable_or_failed(done, downstream);
    }
    patience.last_until(until);
    co_await patience.readable_or_failed(done, downstream);
    if (patience.ended()) co_return std::unexpected(patience.ended_by());
    if (downstream.failed) co_return std::unexpected(FLOW_END_client_gone);
    if (!lookup->is_done || lookup->addresses.empty()) co_return std::unexpected(FLOW_END_name_unresolved);
    co_return std::move(lookup->addresses);
}

}  // namespace sluice::agent
