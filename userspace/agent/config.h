#pragma once
// What an operator says in the configuration file. docs/configuration.md has the format; every member's
// default is what holds when the file is silent.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "policy/policy.h"
#include "policy/yaml_reader.h"
#include "userspace/agent/proxy_config.h"
#include "userspace/datapath/capture.h"

namespace sluice::agent {

enum class UpstreamSource : std::uint8_t {
    client,   // the upstream connection carries the client's address and, where possible, its port
    gateway,  // the gateway's own address
};

// In the order of SPLICE_MODE_LIST, where `none` is no mode in particular.
enum class SpliceChoice : std::uint8_t { automatic, relay, sockmap, packet };

struct Config {
    datapath::CaptureConfig capture;
    bool captures = true;  // false: a proxy only; nothing is installed, and no captured flow is accepted
    ProxyConfig proxy;
    UpstreamSource upstream_source = UpstreamSource::client;
    SpliceChoice splice = SpliceChoice::automatic;
    std::uint32_t hello_bytes_max = 65536;
    std::chrono::milliseconds hello_deadline{10'000};
    std::chrono::milliseconds silence{250};  // at most hello_deadline
    std::chrono::milliseconds connect_timeout{10'000};
    std::chrono::seconds idle_timeout{3600};
    std::chrono::seconds half_close_timeout{300};
    std::vector<policy::Endpoint> name_servers;    // none: those of /etc/resolv.conf
    std::uint32_t flows_max = 0;                   // 0: as many as the descriptor limit allows
    std::uint32_t workers = 0;                     // 0: one per core
    std::shared_ptr<const policy::Policy> policy;  // never null
    std::vector<std::string> list_warnings;        // of the policy's lists, one line each

    std::vector<policy::ListInfo> list_files;  // as they were found when they were read

    // The keys that differ and that only a restart can change: all but `policy` and `dns.servers`, in the
    // file's order.
    std::vector<std::string> keys_for_restart(const Config& other) const;
};

// Reads a whole file and the lists that it names; throws policy::FileError (one line: file, line, column,
// what was expected). Only reads, so it may be called at any time, as for a reload: then `last` is the policy
// so far, from which lists come that have not changed, or that are broken now.
Config read_config(const std::string& path, const policy::Policy* last = nullptr);

// What it would be if only the lists had been read again that `policy` names.
Config reread_lists(const policy::Policy& policy);

// The same as read_config(), without the lists.
Config parse_config_file(const std::string& path);

// And for a text already read; `file` is its name in errors.
Config parse_config(const std::string& file, const std::string& text);

// What `sluice run --interface IF ...` without a file means: capture all TCP of these interfaces, allow all,
// log all, malformed hellos too. Throws policy::FileError for what cannot be an interface's name.
Config default_config(std::vector<std::string> interfaces);

}  // namespace sluice::agent
