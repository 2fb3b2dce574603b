// `sluice hello` as an operator meets it: what it prints, and its exit code.
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/command_run.h"
#include "tests/unit/hello_parts.h"
#include "tests/unit/real_hellos.h"

namespace sluice::cli {
namespace {

using namespace sluice::test;

using Result = CommandResult;

Result run(std::vector<std::string> arguments) {
    return run_command([](CLI::App& app, int& exit_code) { add_hello(app, exit_code); },
                       std::move(arguments));
}

class HelloCommand : public testing::Test {
  protected:
    HelloCommand()
        : path_(std::filesystem::path(testing::TempDir()) / ("hello-" + std::to_string(::getpid()))) {}
    ~HelloCommand() override { std::filesystem::remove(path_); }

    std::string file(const Octets& bytes) const {
        std::ofstream(path_, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        return path_.string();
    }

  private:
    std::filesystem::path path_;
};

TEST_F(HelloCommand, PrintsJsonWithAllItsKeys) {
    Result result = run({"hello", "--json", file(from_base64(real_hellos[3].base64))});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(
        result.out,
        R"({"status":"found","server_name":"shop.example.net","alpn":["h2","http/1.1"],)"
        R"("versions":["TLS 1.3","TLS 1.2","TLS 1.1","TLS 1.0"],"ja4":"t13d3112h2_e8f1e7e78f70_b26ce05bbdd6",)"
        R"("ech":"none","records":1,"bytes":517})"
        "\n");
}

TEST_F(HelloCommand, PrintsAlignedLines) {
    Result result = run({"hello", file(stream(chromium_hello("www.example.com")))});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.out,
              "status        found\n"
              "server_name   www.example.com\n"
              "alpn          h2, http/1.1\n"
              "versions      TLS 1.3, TLS 1.2\n"
              "ja4           t13d1516h2_8daaf6152771_d8a2da3f94cd\n"
              "ech           grease\n"
              "records       1\n"
              "bytes         1789\n");
}

TEST_F(HelloCommand, ReadsAHelloWithoutANameAndSaysSo) {
    HelloParts parts;
    parts.extensions = {{43, sized(1, numbers({0x7f1c}))}};
    Result result = run({"hello", file(stream(parts))});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_NE(result.out.find("no_server_name"), std::string::npos);
    EXPECT_NE(result.out.find("0x7f1c"), std::string::npos);
}

TEST_F(HelloCommand, ExitsWithOneWhenThereIsNoHello) {
    Octets cut = stream({});
    cut.pop_back();
    Result result = run({"hello", "--json", file(cut)});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.out.find("\"bytes_needed\":" + std::to_string(cut.size() + 1)), std::string::npos);

    result = run({"hello", file({'S', 'S', 'H'})});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.out, "status        not_tls\n");

    HelloParts parts;
    parts.extensions = {{0, server_name("a b")}};
    result = run({"hello", file(stream(parts))});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.out.find("why           server name with a byte that no name has\n"), std::string::npos);
}

TEST_F(HelloCommand, ExitsWithTwoAndNamesTheFileThatItCannotRead) {
    Result result = run({"hello", "/nonexistent/hello"});
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err, "sluice hello: /nonexistent/hello: No such file or directory\n");
    EXPECT_EQ(run({"hello", testing::TempDir()}).exit_code, 2);
}

TEST_F(HelloCommand, LetsNoHostileByteReachTheTerminal) {
    HelloParts parts;
    parts.extensions = {{16, alpn({"\x1b[2J\n"})}};
    for (bool json : {false, true}) {
        std::string path = file(stream(parts));
        std::string out = run(json ? std::vector<std::string>{"hello", "--json", path}
                                   : std::vector<std::string>{"hello", path})
                              .out;
        EXPECT_EQ(out.find('\x1b'), std::string::npos);
        EXPECT_NE(out.find("[2J"), std::string::npos);
    }
}

}  // namespace
}  // namespace sluice::cli
