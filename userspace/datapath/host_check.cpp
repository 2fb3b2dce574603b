#include "userspace/datapath/host_check.h"

#include <linux/capability.h>
#include <linux/magic.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>

#include "userspace/datapath/capability.h"
#include "userspace/datapath/fd.h"
#include "userspace/datapath/firewall_check.h"
#include "userspace/datapath/nft.h"

namespace sluice::datapath {

namespace {

using Findings = std::vector<Finding>;

void ok(Findings& findings, std::string what) {
    findings.push_back({Severity::ok, std::move(what), ""});
}

void warn(Findings& findings, std::string what, std::string fix) {
    findings.push_back({Severity::warning, std::move(what), std::move(fix)});
}

void problem(Findings& findings, std::string what, std::string fix) {
    findings.push_back({Severity::problem, std::move(what), std::move(fix)});
}

// `key` as in sysctl(8), but with '/' between its parts; 0 when this kernel has no such key.
long sysctl(const std::string& key) {
    std::ifstream file("/proc/sys/" + key);
    long value = 0;
    return file >> value ? value : 0;
}

// sysctl(8) takes '/' as well as '.', and an interface's name may hold a '.'.
std::string set_command(const std::string& key, int value) {
    return "sysctl -w " + key + "=" + std::to_string(value);
}

std::vector<std::string> all_interfaces() {
    std::vector<std::string> names;
    const std::unique_ptr<struct if_nameindex, decltype(&if_freenameindex)> list(if_nameindex(),
                                                                                 if_freenameindex);
    for (auto* entry = list.get(); entry && entry->if_index != 0; ++entry)
        names.emplace_back(entry->if_name);
    return names;
}

// ---- the process

void check_privileges(const CaptureConfig&, Findings& findings) {
    const bool network = has_capability(CAP_NET_ADMIN);
    const bool bpf = has_capability(CAP_BPF) || has_capability(CAP_SYS_ADMIN);
    if (network && bpf) return ok(findings, "privileges: CAP_NET_ADMIN and CAP_BPF");
    problem(findings, std::string("privileges: no ") + (network ? "CAP_BPF" : "CAP_NET_ADMIN"),
            "sudo sluice doctor");
}

void check_descriptors(const CaptureConfig&, Findings& findings) {
    constexpr rlim_t comfortable = 65536;
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const std::string what = "at most " + std::to_string(limit.rlim_max) + " open files";
    if (limit.rlim_max >= comfortable) return ok(findings, what);
    warn(findings, what + ": a relayed flow needs several, further flows are refused",
         "ulimit -Hn 1048576 (systemd: LimitNOFILE=1048576)");
}

void check_bpffs(const CaptureConfig&, Findings& findings) {
    struct statfs file_system{};
    const int error = ::statfs("/sys/fs/bpf", &file_system);
    const bool mounted = error == 0 && static_cast<unsigned long>(file_system.f_type) == BPF_FS_MAGIC;
    if (mounted) return ok(findings, "/sys/fs/bpf is mounted");
    warn(findings, "/sys/fs/bpf is not mounted: the flow table has no place until the agent mounts it",
         "mount -t bpf bpf /sys/fs/bpf");
}

void check_listener(const CaptureConfig& config, Findings& findings) {
    const std::string port = std::to_string(config.port);
    const Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(config.port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool is_free = ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    if (is_free) return ok(findings, "port " + port + " is free for the agent");
    bool agent_runs = false;
    try {
        run_nft("", "list table inet sluice");
        agent_runs = true;
    } catch (const CaptureError&) {  // no such table
    }
    if (agent_runs) return ok(findings, "port " + port + " has a listener: the agent");
    problem(findings, "another program listens on port " + port,
            "set another capture.port, or see whose it is: ss -ltnp sport = :" + port);
}

// ---- the kernel

void check_kernel(const CaptureConfig&, Findings& findings) {
    utsname name{};
    ::uname(&name);
    int major = 0;
    int minor = 0;
    std::sscanf(name.release, "%d.%d", &major, &minor);
    const std::string what = std::string("kernel ") + name.release;
    if (major > 6 || (major == 6 && minor >= 1)) return ok(findings, what);
    warn(findings, what + " is older than 6.1, the oldest that sluice is tested on",
         "install a newer kernel");
}

void check_ruleset(const CaptureConfig& config, Findings& findings) {
    CaptureConfig any = config;
    if (any.interfaces.empty()) any.interfaces = {"lo"};
    std::string ruleset;
    try {
        ruleset = capture_ruleset(any);
    } catch (const CaptureError& error) {
        return problem(findings, error.what(), "correct the configuration");
    }
    try {
        run_nft("nftables", ruleset, NftRun::check);
        ok(findings, "the kernel accepts the capture's nftables rules (tproxy, socket, fib, reject)");
    } catch (const CaptureError& error) {
        problem(findings, std::string("the kernel refuses the capture's rules: ") + error.what(),
                "modprobe -a nft_tproxy nft_socket nft_fib_inet nft_reject_inet");
    }
}

// ---- routing

void check_forwarding(const CaptureConfig&, Findings& findings) {
    for (const auto& [family, key] :
         {std::pair("IPv4", "net/ipv4/ip_forward"), std::pair("IPv6", "net/ipv6/conf/all/forwarding")}) {
        if (family == std::string("IPv6") && sysctl("net/ipv6/conf/lo/disable_ipv6") != 0) continue;
        if (sysctl(key) != 0) {
            ok(findings, std::string(family) + " is forwarded");
        } else {
            warn(findings,
                 std::string(family) + " is not forwarded: what is not captured (DNS, ping) does not pass",
                 set_command(key, 1));
        }
    }
}

// Strict filtering drops packets whose sender is routed through another interface. With one uplink that is
// only spoofed traffic; with several, answers legitimately come in by the other one.
void check_reverse_path(const CaptureConfig&, Findings& findings) {
    std::set<std::string> uplinks;
    std::ifstream routes("/proc/thread-self/net/route");
    for (std::string line; std::getline(routes, line);) {
        std::istringstream words(line);
        std::string interface, destination, gateway, flags, references, use, metric, mask;
        words >> interface >> destination >> gateway >> flags >> references >> use >> metric >> mask;
        if (destination == "00000000" && mask == "00000000") uplinks.insert(interface);
    }
    const long for_all = sysctl("net/ipv4/conf/all/rp_filter");
    const std::size_t before = findings.size();
    for (const std::string& name : uplinks) {
        const std::string key = "net/ipv4/conf/" + name + "/rp_filter";
        if (uplinks.size() < 2 || std::max(for_all, sysctl(key)) != 1) continue;
        warn(findings,
             name + " filters by reverse path, and there are several uplinks: answers by another are dropped",
             set_command(key, 2));
    }
    if (findings.size() == before) ok(findings, "reverse path filters (rp_filter) do not hurt");
}

// With src_valid_mark the kernel asks for the way back to a packet's sender under the packet's mark, and for
// ours that way is the local table: a martian, dropped. wg-quick sets it.
void check_source_mark(const CaptureConfig&, Findings& findings) {
    std::vector<std::string> names = all_interfaces();
    std::erase(names, "lo");
    names.insert(names.begin(), "all");
    const bool accepts_local = sysctl("net/ipv4/conf/all/accept_local") != 0;
    const std::size_t before = findings.size();
    for (const std::string& name : names) {
        const std::string key = "net/ipv4/conf/" + name + "/src_valid_mark";
        if (accepts_local || sysctl(key) == 0) continue;
        problem(findings, key + " is set: the kernel takes captured packets for martians",
                set_command(key, 0));
    }
    if (findings.size() == before) ok(findings, "src_valid_mark is off");
}

// The mark of captured packets must not pass on to what is sent back: it would be routed to this host.
void check_mark_inheritance(const CaptureConfig&, Findings& findings) {
    const std::size_t before = findings.size();
    for (const char* key :
         {"net/ipv4/tcp_fwmark_accept", "net/ipv4/fwmark_reflect", "net/ipv6/fwmark_reflect"}) {
        if (sysctl(key) == 0) continue;
        problem(findings,
                std::string(key) + " is set: answers to clients carry the mark and are routed to this host",
                set_command(key, 0));
    }
    if (findings.size() == before) ok(findings, "marks are not inherited by answers");
}

// ---- interfaces

using Link = std::unique_ptr<rtnl_link, decltype(&rtnl_link_put)>;

Link find_link(nl_sock* socket, int index, const char* name) {
    rtnl_link* link = nullptr;
    rtnl_link_get_kernel(socket, index, name, &link);
    return {link, rtnl_link_put};
}

bool is_bridge(rtnl_link* link) {
    const char* type = link ? rtnl_link_get_type(link) : nullptr;
    return type && std::strcmp(type, "bridge") == 0;
}

// br_netfilter runs a bridge's frames through the rules before they come up to IP, where the socket that
// tproxy chose is forgotten and the rules are not asked again.
void check_bridge(nl_sock* socket, rtnl_link* link, const std::string& name, Findings& findings) {
    const int master = rtnl_link_get_master(link);
    const bool bridged =
        is_bridge(link) || (master != 0 && is_bridge(find_link(socket, master, nullptr).get()));
    if (!bridged) return;
    for (const char* key : {"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"}) {
        if (sysctl(key) == 0) continue;
        problem(findings,
                name + " is part of a bridge and " + key + " is set (Docker does): nothing is captured",
                set_command(key, 0));
    }
}

void check_interfaces(const CaptureConfig& config, Findings& findings) {
    const std::unique_ptr<nl_sock, decltype(&nl_socket_free)> socket(nl_socket_alloc(), nl_socket_free);
    if (!socket || nl_connect(socket.get(), NETLINK_ROUTE) < 0) {
        return problem(findings, "interfaces: the kernel does not answer", "ip link");
    }
    std::vector<std::string> names = config.interfaces;
    names.insert(names.begin(), "lo");  // the route of marked packets needs it
    for (const std::string& name : names) {
        const Link link = find_link(socket.get(), 0, name.c_str());
        if (!link) {
            warn(findings, "interface " + name + " does not exist (yet)", "ip link");
        } else if ((rtnl_link_get_flags(link.get()) & IFF_UP) == 0) {
            const Severity severity = name == "lo" ? Severity::problem : Severity::warning;
            findings.push_back({severity, "interface " + name + " is down", "ip link set " + name + " up"});
        } else {
            ok(findings, "interface " + name + " is up");
        }
        if (link) check_bridge(socket.get(), link.get(), name, findings);
    }
    if (config.interfaces.empty()) {
        warn(findings, "no interface is named: its checks are left out", "sluice doctor --interface IF");
    }
}

struct Check {
    void (*run)(const CaptureConfig&, Findings&);
    bool of_our_rules;  // pointless when the operator brings his own
    bool privileged;    // cannot look without CAP_NET_ADMIN, which check_privileges() has found missing
};

constexpr Check checks[] = {
    {check_privileges, false, false},      {check_kernel, false, false},
    {check_descriptors, false, false},     {check_bpffs, false, false},
    {check_listener, false, true},         {check_ruleset, true, true},
    {check_interfaces, true, false},       {check_forwarding, false, false},
    {check_reverse_path, false, false},    {check_source_mark, true, false},
    {check_mark_inheritance, true, false}, {check_routing_rules, true, false},
    {check_firewall, true, true},
};

}  // namespace

std::string_view to_string(Severity severity) {
    constexpr std::string_view words[] = {"ok", "warning", "problem"};
    return words[static_cast<std::size_t>(severity)];
}

std::vector<Finding> check_host(const CaptureConfig& config) {
    Findings findings;
    for (const Check& check : checks) {
        if (check.of_our_rules && !config.install) continue;
        if (check.privileged && !has_capability(CAP_NET_ADMIN)) continue;
        try {
            check.run(config, findings);
        } catch (const CaptureError& error) {  // the kernel did not even let us look
            problem(findings, error.what(), "strace -f sluice doctor");
        }
    }
    return findings;
}

}  // namespace sluice::datapath
