#include "userspace/agent/config.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <tuple>

#include "policy/policy_file.h"
#include "policy/quote.h"
#include "userspace/names/resolver.h"

namespace sluice::agent {
namespace {

using policy::YamlMapping;
using policy::YamlReader;

// Limits, and why they are where they are.
constexpr std::size_t file_bytes_max = 16 << 20;  // a slip (a log, a device) must not eat the memory
constexpr std::size_t interface_bytes_max = 15;   // IFNAMSIZ - 1
constexpr std::uint32_t hello_bytes_floor =
    1024;  // smaller than any post-quantum hello, larger than most others
constexpr std::uint32_t hello_bytes_ceiling =
    1 << 20;  // each waiting flow may hold so much in its receive queue
constexpr std::uint32_t hello_deadline_ms_min =
    100;  // less than a slow link's round trip would cut honest clients off
constexpr std::uint32_t hello_deadline_ms_max = 600'000;
constexpr std::uint32_t silence_ms_max =
    60'000;  // server-first clients wait this long; people give up sooner
constexpr std::uint32_t connect_ms_min = 100;
constexpr std::uint32_t connect_ms_max = 300'000;  // beyond the kernel's own limit of about 130 s of SYNs
constexpr std::uint32_t idle_s_max = 30 * 86'400;
constexpr std::uint32_t half_close_s_max = 86'400;
// The rules forget a connection of the gateway's own clients later than the agent does.
constexpr std::chrono::seconds local_grace{300};
constexpr std::size_t name_servers_max = 8;  // more, and a name that nobody knows costs minutes
constexpr std::uint32_t flows_ceiling = 10'000'000;
constexpr std::uint32_t workers_ceiling = 1024;
// The table's number is the routing rule's priority too, and must come before the main table's rule at 32766.
constexpr std::uint32_t routing_table_max = 32'765;
constexpr std::array<std::uint32_t, 3> kernel_routing_tables{253, 254, 255};  // default, main, local

std::uint32_t read_u32(const YamlReader& value, std::uint32_t min, std::uint32_t max) {
    return static_cast<std::uint32_t>(value.number(min, max));
}

// The names that people give; no quote, space or wildcard that would change the meaning of an nftables
// script.
bool is_interface_name(std::string_view name) {
    auto fits = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
               c == '_' || c == '-' || c == '+';
    };
    return !name.empty() && name.size() <= interface_bytes_max && name != "." && name != ".." &&
           std::ranges::all_of(name, fits);
}

constexpr std::string_view interface_wanted = "an interface's name (1 to 15 letters, digits and . _ - +)";

std::vector<std::string> read_interfaces(const YamlReader& value) {
    std::vector<std::string> names;
    for (const YamlReader& entry : value.entries(interface_wanted)) {
        std::string name = entry.text(interface_wanted);
        if (!is_interface_name(name)) entry.fail_expecting(interface_wanted);
        if (std::ranges::find(names, name) != names.end()) {
            entry.fail("expected each interface once, found " + policy::quote(name) + " again");
        }
        names.push_back(std::move(name));
    }
    return names;
}

void read_exclude(const YamlReader& value, datapath::CaptureConfig& capture) {
    YamlMapping mapping = value.mapping("a mapping", {"sources", "destinations", "ports"});
    if (const auto* sources = mapping.find("sources")) capture.exclude_sources = policy::read_cidrs(*sources);
    if (const auto* destinations = mapping.find("destinations")) {
        capture.exclude_destinations = policy::read_cidrs(*destinations);
    }
    if (const auto* ports = mapping.find("ports")) capture.exclude_ports = policy::read_ports(*ports);
}

std::uint32_t read_mark(const YamlReader& value) {
    std::uint32_t mark = read_u32(value, 1, std::numeric_limits<std::uint32_t>::max());
    if (!std::has_single_bit(mark)) value.fail_expecting("a mark of exactly one bit, such as 0x10000000");
    return mark;
}

std::uint32_t read_routing_table(const YamlReader& value) {
    std::uint32_t table = read_u32(value, 1, routing_table_max);
    if (std::ranges::find(kernel_routing_tables, table) != kernel_routing_tables.end()) {
        value.fail_expecting("a routing table other than the kernel's own 253, 254 and 255");
    }
    return table;
}

datapath::CaptureConfig read_capture(const YamlReader& value) {
    constexpr std::array<std::string_view, 2> quic_words{"reject", "allow"};
    constexpr std::array<std::string_view, 2> fail_words{"closed", "open"};
    YamlMapping mapping =
        value.mapping("a mapping with interfaces:", {"interfaces", "local", "ports", "exclude", "quic",
                                                     "fail", "install", "port", "mark", "routing_table"});
    datapath::CaptureConfig capture;
    if (const auto* install = mapping.find("install")) capture.install = install->flag();
    if (const auto* interfaces = mapping.find("interfaces")) {
        capture.interfaces = read_interfaces(*interfaces);
    } else if (capture.install) {
        mapping.at("interfaces");  // throws
    }
    if (const auto* local = mapping.find("local")) capture.local = local->flag();
    if (const auto* ports = mapping.find("ports")) capture.ports = policy::read_ports(*ports);
    if (const auto* exclude = mapping.find("exclude")) read_exclude(*exclude, capture);
    if (const auto* quic = mapping.find("quic")) capture.quic_reject = quic->word(quic_words) == 0;
    if (const auto* fail = mapping.find("fail")) {
        capture.fail_open = fail->word(fail_words) == 1;
        // What the output hook has sent to the listener cannot go on to the server when there is none.
        if (capture.fail_open && capture.local)
            fail->fail("expected closed, as it is always for local: true, found \"open\"");
    }
    if (const auto* port = mapping.find("port")) {
        capture.port = static_cast<std::uint16_t>(port->number(1, 65535));
    }
    if (const auto* mark = mapping.find("mark")) capture.mark = read_mark(*mark);
    if (const auto* table = mapping.find("routing_table")) capture.routing_table = read_routing_table(*table);
    return capture;
}

void read_upstream(const YamlReader& value, Config& config) {
    constexpr std::array<std::string_view, 2> words{"client", "gateway"};
    YamlMapping mapping = value.mapping("a mapping with source:", {"source"});
    if (const auto* source = mapping.find("source")) {
        config.upstream_source = static_cast<UpstreamSource>(source->word(words));
    }
}

void read_peek(const YamlReader& value, Config& config) {
    YamlMapping mapping = value.mapping("a mapping", {"hello_bytes_max", "hello_deadline_ms", "silence_ms"});
    if (const auto* bytes = mapping.find("hello_bytes_max")) {
        config.hello_bytes_max = read_u32(*bytes, hello_bytes_floor, hello_bytes_ceiling);
    }
    if (const auto* deadline = mapping.find("hello_deadline_ms")) {
        config.hello_deadline =
            std::chrono::milliseconds(deadline->number(hello_deadline_ms_min, hello_deadline_ms_max));
    }
    const auto* silence = mapping.find("silence_ms");
    if (silence != nullptr) config.silence = std::chrono::milliseconds(silence->number(1, silence_ms_max));
    if (config.silence > config.hello_deadline) {
        const YamlReader& culprit = silence != nullptr ? *silence : mapping.at("hello_deadline_ms");
        culprit.fail("expected silence_ms to be at most hello_deadline_ms, found " +
                     std::to_string(config.silence.count()) + " and " +
                     std::to_string(config.hello_deadline.count()));
    }
}

SpliceChoice read_splice(const YamlReader& value) {
    constexpr std::array<std::string_view, 4> words{"auto", "relay", "sockmap", "packet"};
    return static_cast<SpliceChoice>(value.word(words));
}

void read_timeouts(const YamlReader& value, Config& config) {
    YamlMapping mapping = value.mapping("a mapping", {"connect_ms", "idle_s", "half_close_s"});
    if (const auto* connect = mapping.find("connect_ms")) {
        config.connect_timeout = std::chrono::milliseconds(connect->number(connect_ms_min, connect_ms_max));
    }
    if (const auto* idle = mapping.find("idle_s")) {
        config.idle_timeout = std::chrono::seconds(idle->number(1, idle_s_max));
    }
    if (const auto* half_close = mapping.find("half_close_s")) {
        config.half_close_timeout = std::chrono::seconds(half_close->number(1, half_close_s_max));
    }
}

// With a port if it is not 53.
policy::Endpoint read_name_server(const YamlReader& value) {
    constexpr std::string_view wanted =
        "the address of a name server, such as 192.0.2.53 or [2001:db8::1]:5353";
    const std::string text = value.text(wanted);
    if (const auto address = policy::IpAddress::parse(text)) return {*address, names::dns_port};
    const auto endpoint = policy::Endpoint::parse(text);
    if (!endpoint || endpoint->port == 0) value.fail_expecting(wanted);
    return *endpoint;
}

void read_dns(const YamlReader& value, Config& config) {
    YamlMapping mapping = value.mapping("a mapping with servers: or observe:", {"servers", "observe"});
    if (const auto* servers = mapping.find("servers")) {
        for (const YamlReader& entry : servers->entries("a name server")) {
            config.name_servers.push_back(read_name_server(entry));
            if (config.name_servers.size() > name_servers_max)
                entry.fail("expected at most " + std::to_string(name_servers_max) +
                           " name servers, found more");
        }
    }
    const auto* observe = mapping.find("observe");
    if (observe == nullptr) return;
    constexpr std::string_view wanted = "the address of a name server whose answers are believed";
    for (const YamlReader& entry : observe->entries(wanted)) {
        const auto address = policy::IpAddress::parse(entry.text(wanted));
        if (!address) entry.fail_expecting(wanted);
        config.capture.observe.push_back(*address);
    }
    // The rule that shows them to the agent is one of those.
    if (!config.capture.install || config.capture.interfaces.empty())
        observe->fail(
            "expected observe: together with rules that sluice installs for interfaces:, found it without");
}

void read_limits(const YamlReader& value, Config& config) {
    YamlMapping mapping = value.mapping("a mapping", {"flows", "workers"});
    if (const auto* flows = mapping.find("flows")) config.flows_max = read_u32(*flows, 0, flows_ceiling);
    if (const auto* workers = mapping.find("workers"))
        config.workers = read_u32(*workers, 0, workers_ceiling);
}

[[noreturn]] void fail_to_read(const std::string& path, int error) {
    throw policy::FileError(path, 0, 0,
                            "expected a readable file, found: " + std::string(std::strerror(error)));
}

}  // namespace

Config parse_config(const std::string& file, const std::string& text) {
    constexpr std::string_view wanted = "a mapping with capture: or proxy:, and policy:";
    YamlMapping mapping = YamlReader::parse(file, text)
                              .mapping(wanted, {"capture", "proxy", "upstream", "peek", "splice", "timeouts",
                                                "limits", "dns", "policy"});
    Config config;
    const auto* proxy = mapping.find("proxy");
    config.captures = proxy == nullptr || mapping.find("capture") != nullptr;
    config.capture.install = config.captures;
    if (config.captures) config.capture = read_capture(mapping.at("capture"));
    if (proxy != nullptr) config.proxy = read_proxy(*proxy, config.capture.port);
    if (const auto* upstream = mapping.find("upstream")) read_upstream(*upstream, config);
    if (const auto* peek = mapping.find("peek")) read_peek(*peek, config);
    if (const auto* splice = mapping.find("splice")) config.splice = read_splice(*splice);
    if (const auto* timeouts = mapping.find("timeouts")) read_timeouts(*timeouts, config);
    if (const auto* limits = mapping.find("limits")) read_limits(*limits, config);
    if (const auto* dns = mapping.find("dns")) read_dns(*dns, config);
    config.capture.local_idle_s = static_cast<std::uint32_t>((config.idle_timeout + local_grace).count());
    config.policy = std::make_shared<const policy::Policy>(policy::read_policy(mapping.at("policy")));
    return config;
}

namespace {

void read_lists(Config& config, const policy::Policy* last) {
    const policy::ListSources& sources = config.policy->list_sources();
    if (sources.lists.empty()) return;
    policy::LoadedLists loaded = policy::load_lists(sources, last != nullptr ? last->lists() : nullptr);
    config.list_warnings = std::move(loaded.warnings);
    config.list_files = std::move(loaded.files);
    config.policy =
        std::make_shared<const policy::Policy>(config.policy->with_lists(std::move(loaded.catalog)));
}

}  // namespace

Config parse_config_file(const std::string& path) {
    errno = 0;
    std::ifstream stream(path, std::ios::binary);
    if (!stream) fail_to_read(path, errno);
    std::string text(file_bytes_max + 1, '\0');
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (stream.bad() || (stream.fail() && !stream.eof())) fail_to_read(path, errno);
    text.resize(static_cast<std::size_t>(stream.gcount()));
    if (text.size() > file_bytes_max) {
        throw policy::FileError(path, 0, 0, "expected a file of at most 16 MiB, found a larger one");
    }
    return parse_config(path, text);
}

Config read_config(const std::string& path, const policy::Policy* last) {
    Config config = parse_config_file(path);
    read_lists(config, last);
    return config;
}

Config reread_lists(const policy::Policy& policy) {
    policy::LoadedLists loaded = policy::load_lists(policy.list_sources(), policy.lists());
    Config config;
    config.list_warnings = std::move(loaded.warnings);
    config.list_files = std::move(loaded.files);
    config.policy = std::make_shared<const policy::Policy>(policy.with_lists(std::move(loaded.catalog)));
    return config;
}

Config default_config(std::vector<std::string> interfaces) {
    for (const std::string& name : interfaces) {
        if (is_interface_name(name)) continue;
        throw policy::FileError(
            "--interface", 0, 0,
            "expected " + std::string(interface_wanted) + ", found " + policy::quote(name));
    }
    constexpr policy::Outcome allow{policy::Action::allow, policy::DenyStyle::reset, true};
    Config config;
    config.capture.interfaces = std::move(interfaces);
    config.policy = std::make_shared<const policy::Policy>(std::vector<policy::Rule>{}, allow, allow);
    return config;
}

std::vector<std::string> Config::keys_for_restart(const Config& other) const {
    std::vector<std::string> keys;
    const auto compare = [&keys](const char* key, const auto& here, const auto& there) {
        if (here != there) keys.emplace_back(key);
    };
    compare("capture", captures, other.captures);
    compare("capture.interfaces", capture.interfaces, other.capture.interfaces);
    compare("capture.local", capture.local, other.capture.local);
    compare("capture.ports", capture.ports, other.capture.ports);
    compare("capture.exclude.sources", capture.exclude_sources, other.capture.exclude_sources);
    compare("capture.exclude.destinations", capture.exclude_destinations, other.capture.exclude_destinations);
    compare("capture.exclude.ports", capture.exclude_ports, other.capture.exclude_ports);
    compare("capture.quic", capture.quic_reject, other.capture.quic_reject);
    compare("capture.fail", capture.fail_open, other.capture.fail_open);
    compare("capture.install", capture.install, other.capture.install);
    compare("capture.port", capture.port, other.capture.port);
    compare("capture.mark", capture.mark, other.capture.mark);
    compare("capture.routing_table", capture.routing_table, other.capture.routing_table);
    compare("proxy.listen", proxy.listen, other.proxy.listen);
    compare("proxy.from", proxy.from, other.proxy.from);
    compare("upstream.source", upstream_source, other.upstream_source);
    compare("peek.hello_bytes_max", hello_bytes_max, other.hello_bytes_max);
    compare("peek.hello_deadline_ms", hello_deadline, other.hello_deadline);
    compare("peek.silence_ms", silence, other.silence);
    compare("splice", splice, other.splice);
    compare("timeouts.connect_ms", connect_timeout, other.connect_timeout);
    compare("timeouts.idle_s", idle_timeout, other.idle_timeout);
    compare("timeouts.half_close_s", half_close_timeout, other.half_close_timeout);
    compare("limits.flows", flows_max, other.flows_max);
    compare("limits.workers", workers, other.workers);
    compare("dns.observe", capture.observe, other.capture.observe);
    return keys;
}

}  // namespace sluice::agent
