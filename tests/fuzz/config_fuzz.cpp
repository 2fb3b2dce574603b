// Whatever the text, reading it ends in a configuration or in a FileError, and the policy then decides.
#include <cstdint>
#include <cstdlib>

#include "policy/lint.h"
#include "userspace/agent/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sluice;
    try {
        agent::Config config =
            agent::parse_config("fuzz.yaml", std::string(reinterpret_cast<const char*>(data), size));
        policy::lint(*config.policy);
        policy::Facts facts;
        facts.protocol = policy::Protocol::tls;
        facts.server_name = "www.example.com";
        if (config.policy->judge(facts).rule.empty()) std::abort();
        facts.mac = policy::MacAddress();
        if (config.policy->judge(facts).rule.empty()) std::abort();
    } catch (const policy::FileError& error) {
        std::string_view line = error.what();
        if (!line.starts_with("fuzz.yaml:") || line.find('\n') != line.npos) std::abort();
    }
    return 0;
}
