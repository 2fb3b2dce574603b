#pragma once
// TLS clients that people use, run in a namespace against 10.10.2.2:443 under a server name.
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace sluice::test {

// Each fetches "/" (curl: `path`) over TLS; `out` has what the client prints, the server's answer included.
// `certificate`: a file with the certificate to trust.
Finished run_curl(const Netns& netns, const std::string& server_name, const std::string& certificate,
                  const std::vector<std::string>& more = {}, const std::string& path = "/");
Finished run_openssl_client(const Netns& netns, const std::string& server_name,
                            const std::string& certificate, const std::vector<std::string>& more = {});
// Headless, trusting any certificate; `out` is the page's DOM.
Finished run_chromium(const Netns& netns, const std::string& server_name);
Finished run_gnutls_client(const Netns& netns, const std::string& server_name,
                           const std::string& certificate);

}  // namespace sluice::test
