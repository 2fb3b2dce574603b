#include "userspace/names/resolver.h"

#include <arpa/nameser.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>

#include "userspace/names/cares.h"
#include "userspace/names/dns_answer.h"

namespace sluice::names {
namespace {

// What fits into any path's packets (DNS flag day 2020): larger answers come by TCP.
constexpr int udp_bytes_max = 1232;

// With `capture: {local: true}` a TCP connection of the gateway's own would be captured: its rules leave out
// transparent sockets (userspace/datapath/capture.h).
int leave_out_of_capture(ares_socket_t socket, int, void*) {
    const int on = 1;
    ::setsockopt(socket, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof on);
    ::setsockopt(socket, IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof on);
    return 0;
}

ares_channel open_channel(const Resolver::Servers& servers) {
    ares_options options{};
    options.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS;
    options.timeout = server_timeout_ms;
    options.tries = server_tries;
    options.ednspsz = udp_bytes_max;
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ;
#ifdef ARES_OPT_QUERY_CACHE
    options.qcache_max_ttl = 0;  // a question asked again is asked again
    mask |= ARES_OPT_QUERY_CACHE;
#endif
    ares_channel channel = nullptr;
    if (ares_init_options(&channel, &options, mask) != ARES_SUCCESS) return nullptr;
    ares_set_socket_configure_callback(channel, leave_out_of_capture, nullptr);
    std::string list;
    for (const policy::Endpoint& server : servers)
        list += (list.empty() ? "" : ",") + server.to_string();
    if (!list.empty() && ares_set_servers_ports_csv(channel, list.c_str()) != ARES_SUCCESS) {
        ares_destroy(channel);
        return nullptr;
    }
    return channel;
}

// Until a socket of the channel is ready, a time-out of it, or somebody writes to `wake_fd`; then does what
// is to be done. Neither has to be: then it returns.
void wait_and_process(ares_channel channel, int wake_fd) {
    std::array<pollfd, ARES_GETSOCK_MAXNUM + 1> fds{};
    std::array<ares_socket_t, ARES_GETSOCK_MAXNUM> sockets{};
    const int interest = channel ? ares_getsock(channel, sockets.data(), ARES_GETSOCK_MAXNUM) : 0;
    nfds_t count = 0;
    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; ++i) {
        const bool reads = (static_cast<unsigned>(interest) >> i & 1) != 0;
        const bool writes = (static_cast<unsigned>(interest) >> (i + ARES_GETSOCK_MAXNUM) & 1) != 0;
        if (!reads && !writes) continue;
        fds[count++] = {.fd = sockets[i],
                        .events = static_cast<short>((reads ? POLLIN : 0) | (writes ? POLLOUT : 0)),
                        .revents = 0};
    }
    fds[count] = {.fd = wake_fd, .events = POLLIN, .revents = 0};
    timeval left{};
    const timeval* timeout = channel ? ares_timeout(channel, nullptr, &left) : nullptr;
    const int timeout_ms = timeout ? static_cast<int>(left.tv_sec * 1000 + (left.tv_usec + 999) / 1000) : -1;
    ::poll(fds.data(), count + 1, timeout_ms);
    if (fds[count].revents != 0) {
        std::uint64_t times = 0;
        [[maybe_unused]] const ssize_t got = ::read(wake_fd, &times, sizeof times);
    }
    if (!channel) return;
    for (nfds_t i = 0; i < count; ++i) {
        const short events = fds[i].revents;
        ares_process_fd(channel, (events & ~POLLOUT) != 0 ? fds[i].fd : ARES_SOCKET_BAD,
                        (events & (POLLOUT | POLLERR | POLLHUP)) != 0 ? fds[i].fd : ARES_SOCKET_BAD);
    }
    ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // time-outs
}

}  // namespace

struct Resolver::State {
    struct UnderWay {
        policy::IpAddress client;  // that caused it
        std::vector<Done> done;
    };
    // What c-ares hands back with an answer, and is freed there.
    struct Asked {
        State& state;
        Question question;
    };

    explicit State(Servers servers_at_first)
        : servers(std::move(servers_at_first)), wake_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
    ~State() { ::close(wake_fd); }

    void wake() const {
        const std::uint64_t once = 1;
        [[maybe_unused]] const ssize_t put = ::write(wake_fd, &once, sizeof once);
    }
    void run();
    void send(const Question& question);
    void on_answer(const Question& question, int status, const unsigned char* message, int bytes);
    static void answered(void* asked, int status, int, unsigned char* message, int bytes) {
        const std::unique_ptr<Asked> owned(static_cast<Asked*>(asked));
        owned->state.on_answer(owned->question, status, message, bytes);
    }

    mutable std::mutex mutex;  // of all that follows, up to the thread's own
    NameEvidence evidence;
    std::unordered_map<Question, UnderWay, QuestionHash> under_way;
    std::map<policy::IpAddress, std::size_t> of_client;  // how many of these each has caused
    std::vector<Question> to_send;
    Servers servers;
    bool servers_changed = true;
    bool stopping = false;
    ResolverTotals totals;

    const int wake_fd;
    std::thread thread;
    ares_channel channel = nullptr;  // the thread's own
};

void Resolver::State::run() {
    ::pthread_setname_np(::pthread_self(), "sluice-names");
    for (;;) {
        std::vector<Question> questions;
        Servers new_servers;
        bool changed = false;
        {
            const std::scoped_lock lock(mutex);
            if (stopping) break;
            changed = std::exchange(servers_changed, false);
            new_servers = servers;
        }
        if (changed) {
            if (channel) ares_destroy(channel);  // what is under way is asked again
            channel = open_channel(new_servers);
        }
        {
            const std::scoped_lock lock(mutex);
            questions.swap(to_send);
        }
        for (const Question& question : questions)
            send(question);
        wait_and_process(channel, wake_fd);
    }
    if (channel) ares_destroy(std::exchange(channel, nullptr));
}

void Resolver::State::send(const Question& question) {
    if (!channel) return on_answer(question, ARES_ENOTINITIALIZED, nullptr, 0);
    auto asked = std::make_unique<Asked>(*this, question);
    const int type = question.family == Family::v4 ? ns_t_a : ns_t_aaaa;
    ares_query(channel, question.name.c_str(), ns_c_in, type, answered, asked.release());
}

void Resolver::State::on_answer(const Question& question, int status, const unsigned char* message,
                                int bytes) {
    std::optional<DnsAnswer> answer;
    if (status == ARES_SUCCESS) answer = read_answer(question.family, message, bytes);
    if (status == ARES_ENODATA || status == ARES_ENOTFOUND) answer = DnsAnswer{};
    std::vector<Done> done;
    {
        const std::scoped_lock lock(mutex);
        if (status == ARES_EDESTRUCTION) {
            if (!stopping) to_send.push_back(question);
            return;
        }
        const auto now = Clock::now();
        if (answer) {
            evidence.answer(question, answer->addresses, answer->ttl, NameEvidence::Source::asked, now);
        } else {
            evidence.fail(question, now);
            ++totals.failures;
        }
        const auto found = under_way.find(question);
        const auto count = of_client.find(found->second.client);
        if (--count->second == 0) of_client.erase(count);
        done = std::move(found->second.done);
        under_way.erase(found);
    }
    for (const Done& call : done)
        call();
}

Resolver::Resolver(Servers servers) : state_(std::make_unique<State>(std::move(servers))) {
    static const int initialized = ares_library_init(ARES_LIB_INIT_ALL);
    (void)initialized;
}

Resolver::~Resolver() {
    stop();
}

void Resolver::stop() {
    {
        const std::scoped_lock lock(state_->mutex);
        state_->stopping = true;
    }
    state_->wake();
    if (state_->thread.joinable()) state_->thread.join();
}

void Resolver::use(Servers servers) {
    {
        const std::scoped_lock lock(state_->mutex);
        const bool may_have_changed = servers.empty();  // in /etc/resolv.conf
        if (servers == state_->servers && !may_have_changed) return;
        if (servers != state_->servers) state_->evidence.clear();
        state_->servers = std::move(servers);
        state_->servers_changed = true;
    }
    state_->wake();
}

NameEvidence::View Resolver::look(const Question& question, const policy::IpAddress& address) {
    const std::scoped_lock lock(state_->mutex);
    return state_->evidence.look(question, address, Clock::now());
}

bool Resolver::ask(const Question& question, const policy::IpAddress& client, Done done) {
    {
        const std::scoped_lock lock(state_->mutex);
        if (state_->stopping) return false;
        if (const auto known = state_->under_way.find(question); known != state_->under_way.end()) {
            known->second.done.push_back(std::move(done));
            return true;
        }
        if (state_->under_way.size() >= questions_max) return false;
        std::size_t& count = state_->of_client[client];
        if (count >= questions_of_client_max) return false;
        ++count;
        ++state_->totals.questions;
        auto& under_way = state_->under_way[question];
        under_way.client = client;
        under_way.done.push_back(std::move(done));
        state_->to_send.push_back(question);
        if (!state_->thread.joinable()) state_->thread = std::thread([this] { state_->run(); });
    }
    state_->wake();
    return true;
}

void Resolver::overhear(const unsigned char* payload, std::size_t bytes) {
    const int length = static_cast<int>(bytes);
    const auto question = question_of_answer(payload, length);
    if (!question) return;
    const auto answer = read_answer(question->family, payload, length);
    if (!answer || answer->addresses.empty()) return;
    const std::scoped_lock lock(state_->mutex);
    ++state_->totals.overheard;
    state_->evidence.answer(*question, answer->addresses, answer->ttl, NameEvidence::Source::overheard,
                            Clock::now());
}

ResolverTotals Resolver::totals() const {
    const std::scoped_lock lock(state_->mutex);
    ResolverTotals totals = state_->totals;
    totals.names = state_->evidence.names();
    totals.addresses = state_->evidence.addresses();
    return totals;
}

}  // namespace sluice::names
