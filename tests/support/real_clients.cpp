#include "tests/support/real_clients.h"

#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"

namespace sluice::test {

namespace {

constexpr const char* address = "10.10.2.2";

std::string request(const std::string& server_name) {
    return "GET / HTTP/1.1\r\nHost: " + server_name + "\r\nConnection: close\r\n\r\n";
}

}  // namespace

Finished run_curl(const Netns& netns, const std::string& server_name, const std::string& certificate,
                  const std::vector<std::string>& more, const std::string& path) {
    std::vector<std::string> argv{"curl", "-sS", "--max-time", "20", "--cacert", certificate};
    argv.insert(argv.end(), {"--connect-to", "::" + std::string(address) + ":"});
    argv.insert(argv.end(), more.begin(), more.end());
    argv.push_back("https://" + server_name + path);
    return run_process(argv, {.netns = &netns});
}

Finished run_openssl_client(const Netns& netns, const std::string& server_name,
                            const std::string& certificate, const std::vector<std::string>& more) {
    std::vector<std::string> argv{"openssl", "s_client", "-quiet", "-verify_return_error",
                                  "-CAfile", certificate};
    argv.insert(argv.end(), {"-connect", std::string(address) + ":443", "-servername", server_name});
    argv.insert(argv.end(), more.begin(), more.end());
    return run_process(argv, {.netns = &netns, .input = request(server_name)});
}

Finished run_gnutls_client(const Netns& netns, const std::string& server_name,
                           const std::string& certificate) {
    return run_process({"gnutls-cli", "--x509cafile", certificate, "--sni-hostname", server_name,
                        "--verify-hostname", server_name, "--port", "443", address},
                       {.netns = &netns, .input = request(server_name)});
}

Finished run_chromium(const Netns& netns, const std::string& server_name) {
    const TemporaryDirectory directory;
    const std::string home = directory.path().string();
    Finished finished;
    // It gives up what it is doing when an address appears: that of the lab's IPv6 may be a second late.
    wait_until([&] {
        finished =
            run_process({"chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                         "--disable-background-networking", "--disable-component-update", "--no-first-run",
                         "--ignore-certificate-errors", "--user-data-dir=" + home,
                         "--host-resolver-rules=MAP " + server_name + " " + address + ", MAP * ~NOTFOUND",
                         "--dump-dom", "https://" + server_name + "/"},
                        {.netns = &netns, .environment = {{"HOME", home}}}, 60s);
        return !finished.err.contains("ERR_NETWORK_CHANGED");
    });
    return finished;
}

}  // namespace sluice::test
