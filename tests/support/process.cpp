#include "tests/support/process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "tests/support/temporary_directory.h"

namespace sluice::test {

namespace {

int memory_file(const char* name, std::string_view content = {}) {
    const int file = ::memfd_create(name, MFD_CLOEXEC);
    if (file < 0) throw std::system_error(errno, std::generic_category(), "memfd_create");
    if (!content.empty() &&
        ::write(file, content.data(), content.size()) != static_cast<ssize_t>(content.size())) {
        throw std::system_error(errno, std::generic_category(), "write to memfd");
    }
    ::lseek(file, 0, SEEK_SET);
    return file;
}

std::string content_of(int file, std::size_t offset) {
    std::string text;
    char buffer[65536];
    for (ssize_t count;
         (count = ::pread(file, buffer, sizeof buffer, static_cast<off_t>(offset + text.size()))) > 0;) {
        text.append(buffer, static_cast<std::size_t>(count));
    }
    return text;
}

// The test's environment with `changes` on top, as "NAME=value".
std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& changes) {
    std::vector<std::string> result;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        bool replaced = false;
        for (const auto& [name, value] : changes)
            replaced = replaced || text.starts_with(name + "=");
        if (!replaced) result.emplace_back(text);
    }
    for (const auto& [name, value] : changes)
        result.push_back(name + "=" + value);
    return result;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts)
        result.push_back(text.data());
    result.push_back(nullptr);
    return result;
}

std::uint64_t status_kilobytes(pid_t pid, std::string_view key) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with(key)) return std::stoull(line.substr(key.size()));
    }
    throw std::runtime_error("no " + std::string(key) + " of process " + std::to_string(pid));
}

}  // namespace

Process::Process(const std::vector<std::string>& argv, const ProcessOptions& options) {
    std::vector<std::string> arguments = argv;
    std::vector<std::string> environment = environment_with(options.environment);
    const std::vector<char*> argument_pointers = pointers(arguments);
    const std::vector<char*> environment_pointers = pointers(environment);
    const int input = memory_file("stdin", options.input);
    out_ = memory_file("stdout");
    err_ = memory_file("stderr");
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
        // Other threads of the test may hold locks: only system calls from here on.
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(127);
        if (options.netns != nullptr && ::setns(options.netns->descriptor(), CLONE_NEWNET) != 0) ::_exit(127);
        ::dup2(input, 0);
        ::dup2(out_, 1);
        ::dup2(err_, 2);
        ::execvpe(argument_pointers[0], argument_pointers.data(), environment_pointers.data());
        ::_exit(127);
    }
    ::close(input);
    if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
}

Process::~Process() {
    if (running()) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    ::close(out_);
    ::close(err_);
}

bool Process::running() {
    if (exit_code_) return false;
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return true;
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return false;
}

void Process::signal(int number) const {
    if (!exit_code_) ::kill(pid_, number);
}

std::optional<int> Process::wait(milliseconds deadline) {
    wait_until([this] { return !running(); }, deadline);
    return exit_code_;
}

std::string Process::out_from(std::size_t offset) const {
    return content_of(out_, offset);
}

std::string Process::err() const {
    return content_of(err_, 0);
}

std::uint64_t Process::resident_bytes() const {
    return status_kilobytes(pid_, "VmRSS:") * 1024;
}

std::uint64_t Process::descriptors() const {
    std::uint64_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/fd")) {
        count += entry.exists() || entry.is_symlink() ? 1 : 0;
    }
    return count;
}

std::chrono::milliseconds Process::cpu_time() const {
    const std::string text = read_file("/proc/" + std::to_string(pid_) + "/stat");
    std::istringstream words(text.substr(text.rfind(')') + 2));  // the name may hold spaces: start behind it
    std::string skipped;
    for (int field = 3; field < 14; ++field)
        words >> skipped;
    long user = 0;
    long system = 0;
    words >> user >> system;
    return std::chrono::milliseconds((user + system) * 1000 / ::sysconf(_SC_CLK_TCK));
}

Finished run_process(const std::vector<std::string>& argv, const ProcessOptions& options,
                     milliseconds deadline) {
    Process process(argv, options);
    const std::optional<int> exit_code = process.wait(deadline);
    return {exit_code.value_or(-1), process.out(), process.err()};
}

}  // namespace sluice::test
