// `sluice hello`: what a client's first bytes say, from a file or from standard input.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <expected>
#include <memory>

#include "userspace/cli/commands.h"
#include "userspace/text/json.h"
#include "userspace/tls/client_hello.h"

namespace sluice::cli {
namespace {

// More than any hello: the agent itself peeks at 64 KiB by default. What follows the hello is not looked at.
constexpr std::size_t input_bytes_max = 1 << 20;

constexpr int exit_read = 0;         // a whole hello, with a server name or without
constexpr int exit_not_a_hello = 1;  // incomplete, malformed, another protocol
constexpr int exit_unreadable = 2;

// The file's first bytes, or why it cannot be read.
std::expected<std::vector<std::uint8_t>, std::string> read_input(const std::string& path) {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(nullptr, std::fclose);
    std::FILE* file = stdin;
    if (path != "-") {
        opened.reset(std::fopen(path.c_str(), "rb"));
        file = opened.get();
        if (file == nullptr) return std::unexpected(std::strerror(errno));
    }
    std::vector<std::uint8_t> bytes(input_bytes_max);
    bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file));
    if (std::ferror(file) != 0) return std::unexpected(std::strerror(errno));
    return bytes;
}

std::string version_name(std::uint16_t version) {
    if (version == 0x0300) return "SSL 3.0";
    if (version > 0x0300 && version <= 0x0304) return fmt::format("TLS 1.{}", version - 0x0301);
    return fmt::format("0x{:04x}", version);
}

std::vector<std::string> version_names(const tls::ClientHello& hello) {
    std::vector<std::string> names;
    for (std::uint16_t version : hello.versions)
        names.push_back(version_name(version));
    return names;
}

std::string as_json(const tls::ClientHello& hello) {
    fmt::memory_buffer out;
    {
        text::JsonObject object(out);
        object.add("status", to_string(hello.status))
            .add("server_name", hello.server_name)
            .add("alpn", hello.alpn)
            .add("versions", version_names(hello))
            .add("ja4", tls::ja4(hello))
            .add("ech", to_string(hello.ech))
            .add("records", hello.records)
            .add("bytes", hello.bytes);
        if (!hello.why.empty()) object.add("why", hello.why);
        if (hello.bytes_needed > 0) object.add("bytes_needed", hello.bytes_needed);
    }
    return fmt::to_string(out);
}

std::string as_lines(const tls::ClientHello& hello) {
    std::string out;
    auto line = [&out](std::string_view key, std::string_view value) {
        if (!value.empty()) out += fmt::format("{:<12}  {}\n", key, text::printable(value));
    };
    line("status", to_string(hello.status));
    line("why", hello.why);
    if (hello.bytes_needed > 0) line("bytes_needed", std::to_string(hello.bytes_needed));
    if (hello.bytes == 0) return out;
    line("server_name", hello.server_name);
    line("alpn", fmt::format("{}", fmt::join(hello.alpn, ", ")));
    line("versions", fmt::format("{}", fmt::join(version_names(hello), ", ")));
    line("ja4", tls::ja4(hello));
    line("ech", to_string(hello.ech));
    line("records", std::to_string(hello.records));
    line("bytes", std::to_string(hello.bytes));
    return out;
}

int print_hello(const std::string& path, bool json) {
    auto bytes = read_input(path);
    if (!bytes) {
        fmt::print(stderr, "sluice hello: {}: {}\n", text::printable(path), bytes.error());
        return exit_unreadable;
    }
    tls::ClientHello hello = tls::parse_client_hello(*bytes);
    fmt::print("{}", json ? as_json(hello) + "\n" : as_lines(hello));
    bool whole = hello.status == tls::HelloStatus::found || hello.status == tls::HelloStatus::no_server_name;
    return whole ? exit_read : exit_not_a_hello;
}

}  // namespace

void add_hello(CLI::App& app, int& exit_code) {
    struct Options {
        std::string path;
        bool json = false;
    };
    auto options = std::make_shared<Options>();
    CLI::App* command =
        app.add_subcommand("hello", "Read a TLS client's first bytes: name, ALPN, versions, JA4, ECH");
    command->add_option("file", options->path, "File with the bytes as sent, or - for standard input")
        ->required();
    command->add_flag("--json", options->json, "One JSON object");
    command->callback([options, &exit_code] { exit_code = print_hello(options->path, options->json); });
}

}  // namespace sluice::cli
