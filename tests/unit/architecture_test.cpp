// The dependency rule of the tree, held by its #include lines:
//
//   text, policy, tls   pure: no sockets, no libbpf, no Asio, and nothing of datapath, agent or cli
//   datapath            the only folder that includes libbpf, libnftables, libnl or a skeleton
//   names               the only folder that includes c-ares; of the others it knows policy alone
//   agent               the only folder that includes Asio
//   cli, main, tests    on top: nobody else includes agent's or cli's headers
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <regex>
#include <string>
#include <vector>

namespace {

struct Include {
    std::string file;    // relative to the tree, e.g. "policy/rule.cpp"
    std::string header;  // what stands between < > or " "
    int line;
};

std::vector<Include> all_includes() {
    const std::filesystem::path root = SLUICE_SOURCE_DIR;
    const std::regex include(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
    std::vector<Include> result;
    for (const char* folder : {"bpf", "policy", "userspace", "tests"}) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
            const auto extension = entry.path().extension();
            if (extension != ".cpp" && extension != ".h" && extension != ".c") continue;
            std::ifstream file(entry.path());
            int number = 0;
            for (std::string line; std::getline(file, line);) {
                ++number;
                std::smatch match;
                if (!std::regex_search(line, match, include)) continue;
                result.push_back({std::filesystem::relative(entry.path(), root).string(), match[1], number});
            }
        }
    }
    return result;
}

bool starts_with_any(const std::string& text, std::initializer_list<const char*> prefixes) {
    return std::ranges::any_of(prefixes, [&](const char* prefix) { return text.starts_with(prefix); });
}

// Fails for each #include in `files` of a header that `forbidden` names.
void expect_no_include(const std::function<bool(const std::string&)>& files,
                       const std::function<bool(const std::string&)>& forbidden) {
    std::size_t seen = 0;
    for (const Include& include : all_includes()) {
        if (!files(include.file)) continue;
        ++seen;
        EXPECT_FALSE(forbidden(include.header))
            << include.file << ":" << include.line << " includes " << include.header;
    }
    EXPECT_GT(seen, 0u) << "no file was looked at: has a folder moved?";
}

bool is_pure(const std::string& file) {
    return starts_with_any(file, {"policy/", "userspace/tls/", "userspace/text/"});
}

bool is_kernel_library(const std::string& header) {
    return starts_with_any(header, {"bpf/bpf", "bpf/libbpf", "bpf/btf", "nftables/", "netlink/"}) ||
           header.ends_with(".skel.h");
}

// <arpa/inet.h> is not among them: its inet_pton() only reads text.
bool is_socket_header(const std::string& header) {
    return starts_with_any(header, {"sys/socket.h", "sys/un.h", "sys/epoll.h", "sys/ioctl.h", "netinet/",
                                    "net/", "netdb.h", "linux/"});
}

bool is_asio(const std::string& header) {
    return header.starts_with("boost/asio");
}

TEST(Architecture, PureFoldersKnowNoSocketsNoKernelAndNoAsio) {
    expect_no_include(is_pure, [](const std::string& header) {
        return is_socket_header(header) || is_kernel_library(header) || is_asio(header) ||
               starts_with_any(header, {"bpf/", "userspace/datapath/", "userspace/agent/", "userspace/cli/"});
    });
}

TEST(Architecture, PolicyAndTlsDoNotKnowEachOther) {
    expect_no_include([](const std::string& file) { return file.starts_with("policy/"); },
                      [](const std::string& header) { return header.starts_with("userspace/"); });
    expect_no_include([](const std::string& file) { return file.starts_with("userspace/tls/"); },
                      [](const std::string& header) { return header.starts_with("policy/"); });
}

TEST(Architecture, OnlyDatapathIncludesKernelLibrariesAndSkeletons) {
    expect_no_include(
        [](const std::string& file) {
            return !file.starts_with("userspace/datapath/") && !file.starts_with("bpf/") &&
                   !file.starts_with("tests/kernel/") && !file.starts_with("tests/bench/");
        },
        is_kernel_library);
}

TEST(Architecture, DatapathDoesNotKnowAsioNorWhoUsesIt) {
    expect_no_include([](const std::string& file) { return file.starts_with("userspace/datapath/"); },
                      [](const std::string& header) {
                          return is_asio(header) ||
                                 starts_with_any(header, {"userspace/agent/", "userspace/cli/"});
                      });
}

TEST(Architecture, OnlyNamesIncludesCaresAndItKnowsPolicyAlone) {
    const auto is_names = [](const std::string& file) { return file.starts_with("userspace/names/"); };
    expect_no_include(std::not_fn(is_names),
                      [](const std::string& header) { return header.starts_with("ares"); });
    expect_no_include(is_names, [](const std::string& header) {
        return is_asio(header) || is_kernel_library(header) ||
               starts_with_any(header, {"bpf/", "userspace/datapath/", "userspace/agent/", "userspace/cli/",
                                        "userspace/tls/"});
    });
}

TEST(Architecture, OnlyTheAgentIncludesAsio) {
    expect_no_include(
        [](const std::string& file) {
            return !file.starts_with("userspace/agent/") && !file.starts_with("tests/");
        },
        is_asio);
}

TEST(Architecture, NobodyIncludesCliAndOnlyTheTopIncludesAgent) {
    expect_no_include(
        [](const std::string& file) {
            return !starts_with_any(file, {"userspace/cli/", "userspace/main.cpp", "tests/"});
        },
        [](const std::string& header) { return header.starts_with("userspace/cli/"); });
    expect_no_include(
        [](const std::string& file) {
            return !starts_with_any(file,
                                    {"userspace/agent/", "userspace/cli/", "userspace/main.cpp", "tests/"});
        },
        [](const std::string& header) { return header.starts_with("userspace/agent/"); });
}

TEST(Architecture, KernelProgramsIncludeNothingOfUserSpace) {
    expect_no_include([](const std::string& file) { return file.starts_with("bpf/"); },
                      [](const std::string& header) {
                          return starts_with_any(header, {"userspace/", "policy/", "tests/"});
                      });
}

}  // namespace
