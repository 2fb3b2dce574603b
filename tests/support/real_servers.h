#pragma once
// Servers that people run, with configuration, keys and certificates made for one test.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/netns.h"
#include "tests/support/process.h"
#include "tests/support/temporary_directory.h"

namespace sluice::test {

// nginx over TLS, port 443. GET / answers with "<server name> <client's address> <client's port>\n", GET
// /echo-name with the name alone, GET /bytes with `file_bytes` bytes of ByteStream(1).
class Nginx {
  public:
    Nginx(const Netns& netns, const std::vector<std::string>& server_names, std::size_t file_bytes = 0);

    const std::string& certificate() const { return certificate_; }  // a file: what a client must trust

  private:
    TemporaryDirectory directory_;
    std::string certificate_;
    std::unique_ptr<Process> process_;
};

// OpenSSH's sshd on port 22; logs root in by `identity()`.
class Sshd {
  public:
    explicit Sshd(const Netns& netns);

    const std::string& identity() const { return identity_; }  // a private key's file
    // Arguments of the OpenSSH client up to the host's address, to be followed by it and a command.
    std::vector<std::string> client() const;

  private:
    TemporaryDirectory directory_;
    std::string identity_;
    std::unique_ptr<Process> process_;
};

// Whether somebody listens on the TCP port in `netns`.
bool is_listening(const Netns& netns, std::uint16_t port);

}  // namespace sluice::test
