// Whatever a line of a log, or a table to import, says: it ends in a value or in a FileError.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "policy/pcre_pattern.h"
#include "policy/yaml_reader.h"
#include "userspace/agent/http_request.h"
#include "userspace/cli/fqdn_profile.h"
#include "userspace/cli/past_flow.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice;
    const std::string text(reinterpret_cast<const char*>(data), size);
    if (auto flow = cli::PastFlow::parse(text)) flow->facts();
    const auto request = agent::parse_http_request({data, size});
    if (request.status == agent::HttpRequest::Status::malformed && request.why.empty()) std::abort();
    if (auto reading = policy::read_pcre(text, size % 2 == 0); reading && reading->pattern.empty())
        std::abort();
    try {
        cli::parse_fqdn_profile("fuzz", text);
    } catch (const policy::FileError& error) {
        std::string_view line = error.what();
        if (!line.starts_with("fuzz:") || line.find('\n') != line.npos) std::abort();
    }
    return 0;
}
