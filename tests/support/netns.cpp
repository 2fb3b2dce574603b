#include "tests/support/netns.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "tests/support/process.h"

namespace sluice::test {

namespace {

constexpr std::string_view prefix = "sluice-";
constexpr std::string_view directory = "/run/netns/";

void must_run(const std::vector<std::string>& argv, const Netns* netns = nullptr,
              std::string_view input = {}) {
    const Finished finished = run_process(argv, {.netns = netns, .input = std::string(input)});
    if (finished.exit_code != 0)
        throw std::runtime_error(argv[0] + " " + argv[1] + ": " + finished.err + finished.out);
}

}  // namespace

Netns::Netns(std::string_view role) {
    name_ = std::string(prefix) + std::to_string(::getpid()) + "-" + std::string(role);
    must_run({"ip", "netns", "add", name_});
    const std::string path = std::string(directory) + name_;
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) throw std::system_error(errno, std::generic_category(), path);
    ip("link set lo up\n");
}

Netns::~Netns() {
    if (descriptor_ >= 0) ::close(descriptor_);
    run_process({"ip", "netns", "delete", name_});
}

void Netns::ip(std::string_view lines) const {
    must_run({"ip", "-batch", "-"}, this, lines);
}

void Netns::tc(std::string_view lines) const {
    must_run({"tc", "-batch", "-"}, this, lines);
}

void Netns::sysctl(std::string_view key, std::string_view value) const {
    run([&] {
        std::ofstream file("/proc/sys/" + std::string(key));
        if (!(file << value << std::flush)) throw std::runtime_error("cannot set sysctl " + std::string(key));
    });
}

std::optional<std::uint64_t> Netns::find_tcp_counter(std::string_view wanted) const {
    // /proc/net is that of the process's main thread; thread-self is the one that run() moves.
    for (const char* path : {"/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"}) {
        std::ifstream file = run([&] { return std::ifstream(path); });
        for (std::string names, values; std::getline(file, names) && std::getline(file, values);) {
            if (!names.starts_with("Tcp")) continue;
            std::istringstream name_words(names);
            std::istringstream value_words(values);
            for (std::string name, value; name_words >> name && value_words >> value;) {
                if (name == wanted) return std::stoull(value);
            }
        }
    }
    return std::nullopt;
}

std::uint64_t Netns::tcp_counter(std::string_view name) const {
    const auto count = find_tcp_counter(name);
    if (!count) throw std::runtime_error("no TCP counter " + std::string(name));
    return *count;
}

void Netns::remove_leftovers() {
    std::error_code none;  // no directory: nobody made a namespace yet
    for (const auto& entry : std::filesystem::directory_iterator(directory, none)) {
        const std::string name = entry.path().filename();
        if (!name.starts_with(prefix)) continue;
        const pid_t pid = std::atoi(name.c_str() + prefix.size());
        if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) run_process({"ip", "netns", "delete", name});
    }
}

Netns::Inside::Inside(const Netns& netns)
    : outside_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    if (outside_ < 0 || ::setns(netns.descriptor_, CLONE_NEWNET) != 0) {
        throw std::system_error(errno, std::generic_category(), "setns " + netns.name_);
    }
}

Netns::Inside::~Inside() {
    // A thread that cannot go back would run the next test in the wrong network.
    if (::setns(outside_, CLONE_NEWNET) != 0) std::abort();
    ::close(outside_);
}

}  // namespace sluice::test
