#include "userspace/datapath/capture.h"

#include <linux/rtnetlink.h>
#include <net/if.h>

#include <bit>
#include <set>
#include <string_view>

#include "bpf/hold_abi.h"
#include "userspace/datapath/dns_watch.h"
#include "userspace/datapath/nft.h"
#include "userspace/datapath/routing.h"

namespace sluice::datapath {

namespace {

const std::string table_object = "nftables table inet sluice";
constexpr std::uint32_t rule_priority_of_main = 32766;

void require(bool holds, const std::string& what) {
    if (!holds) throw CaptureError("capture: " + what);
}

void validate(const CaptureConfig& config) {
    require(!config.interfaces.empty() || config.local, "no interface is named");
    for (const std::string& name : config.interfaces) {
        const bool printable = name.find_first_of("\"\\/* \t\n") == name.npos;
        require(!name.empty() && name.size() < IF_NAMESIZE && printable,
                "'" + name + "' is no interface name");
    }
    require(config.port != 0, "the listener's port is 0");
    require(std::has_single_bit(config.mark), "the mark must be a single bit");
    const std::uint32_t table = config.routing_table;
    require(
        table > 0 && table < rule_priority_of_main && (table < RT_TABLE_DEFAULT || table > RT_TABLE_LOCAL),
        "routing table " + std::to_string(table) + " is not within 1..32765 or is one of the system's own");
}

std::string hexadecimal(std::uint32_t value) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text = "0x00000000";
    for (std::size_t i = text.size(); value != 0; value >>= 4)
        text[--i] = digits[value & 15];
    return text;
}

// `a, b, c` in a fixed order, each once: the same configuration gives the same text.
template <class Range, class ToText>
std::string list(const Range& range, ToText&& to_text) {
    std::set<std::string> texts;
    for (const auto& element : range)
        texts.insert(to_text(element));
    std::string joined;
    for (const std::string& text : texts)
        joined += (joined.empty() ? "" : ", ") + text;
    return joined;
}

// A named set, as only those merge elements that overlap.
std::string named_set(std::string_view name, std::string_view type, const std::string& elements) {
    if (elements.empty()) return {};
    return "    set " + std::string(name) + " {\n        type " + std::string(type) +
           "\n        flags interval\n        auto-merge\n        elements = { " + elements + " }\n    }\n";
}

std::string ports_text(const std::vector<policy::PortRange>& ports) {
    return list(ports, [](const policy::PortRange& range) { return range.to_string(); });
}

std::string prefixes_text(const std::vector<policy::Cidr>& prefixes, bool v4) {
    std::vector<policy::Cidr> family;
    for (const policy::Cidr& prefix : prefixes) {
        if (prefix.address().is_v4() == v4) family.push_back(prefix);
    }
    return list(family, [](const policy::Cidr& prefix) { return prefix.to_string(); });
}

std::string sets(const CaptureConfig& config) {
    return named_set("ports", "inet_service", ports_text(config.ports)) +
           named_set("exclude_ports", "inet_service", ports_text(config.exclude_ports)) +
           named_set("exclude_sources_v4", "ipv4_addr", prefixes_text(config.exclude_sources, true)) +
           named_set("exclude_sources_v6", "ipv6_addr", prefixes_text(config.exclude_sources, false)) +
           named_set("exclude_destinations_v4", "ipv4_addr",
                     prefixes_text(config.exclude_destinations, true)) +
           named_set("exclude_destinations_v6", "ipv6_addr",
                     prefixes_text(config.exclude_destinations, false));
}

// Returns from `clients`: these packets are forwarded as if there were no sluice.
std::string exclusions(const CaptureConfig& config) {
    std::string rules;
    const auto exclude = [&](std::string_view match, std::string_view set, const std::string& elements) {
        if (elements.empty()) return;
        rules += "        " + std::string(match) + " @" + std::string(set) + " return\n";
    };
    exclude("ip saddr", "exclude_sources_v4", prefixes_text(config.exclude_sources, true));
    exclude("ip6 saddr", "exclude_sources_v6", prefixes_text(config.exclude_sources, false));
    exclude("ip daddr", "exclude_destinations_v4", prefixes_text(config.exclude_destinations, true));
    exclude("ip6 daddr", "exclude_destinations_v6", prefixes_text(config.exclude_destinations, false));
    exclude("th dport", "exclude_ports", ports_text(config.exclude_ports));
    return rules;
}

// Where a captured packet ends: at the listener, or, as the tproxy statements do not match while nobody
// listens, at the drop.
std::string agent_chain(const CaptureConfig& config, const std::string& set_mark) {
    const std::string port = std::to_string(config.port);
    std::string chain = "    chain agent {\n";
    chain +=
        "        meta nfproto ipv4 meta l4proto 6 tproxy ip to 127.0.0.1:" + port + set_mark + " accept\n";
    chain += "        meta nfproto ipv6 meta l4proto 6 tproxy ip6 to [::1]:" + port + set_mark + " accept\n";
    if (!config.fail_open) chain += "        counter drop comment \"fail closed: no agent is listening\"\n";
    return chain + "    }\n";
}

// Protocols are written as numbers (1 ICMP, 6 TCP, 17 UDP, 58 ICMPv6): their names are looked up in
// /etc/protocols, which a minimal host does not have.

const std::string for_the_gateway =
    "        fib daddr type { local, broadcast, multicast } return comment \"for the gateway itself\"\n";

// QUIC is all of UDP 443, and on the other captured ports packets with QUIC's long header (RFC 9000 17.2) of
// version 1 or 2 (RFC 9369), without which no connection begins: DNS and the like on a captured port number
// must pass.
std::string quic_rejects(const CaptureConfig& config) {
    if (!config.quic_reject) return {};
    const std::string udp_ports = config.ports.empty() ? "meta l4proto 17" : "udp dport @ports";
    const std::string reject = " counter reject with icmpx port-unreachable comment ";
    return "        " + udp_ports + " udp dport 443" + reject + "\"QUIC: fall back to TCP\"\n        " +
           udp_ports + " @th,64,8 & 0xc0 == 0xc0 @th,72,32 { 0x00000001, 0x6b3343cf }" + reject +
           "\"QUIC on another port\"\n";
}

// Packets of the captured interfaces.
//
// A SYN starts a flow of a client and is captured. What is left are segments that no socket of ours takes
// (that rule came first): answers in a connection that was opened from elsewhere, or in an excluded one that
// comes back through the same interface (a gateway with one interface), which must pass; and flows that
// clients opened before the capture. Without connection tracking the ports must tell the two apart. From an
// ephemeral port (32768 and up: Linux, and the IANA range of the others) to a port below is a client's: the
// listener answers it with RST, unless it has a SYN cookie. From a lower port those with a cookie have been
// marked (bpf/packet_cookie.h). Anything else passes.
std::string clients_chain(const CaptureConfig& config) {
    const std::string ports = config.ports.empty() ? "" : " tcp dport @ports";
    std::string chain = "    chain clients {\n";
    chain += exclusions(config);
    chain += for_the_gateway;
    chain += "        tcp flags & (syn | ack) == syn" + ports + " goto agent comment \"a new flow\"\n";
    chain += "        tcp flags & (syn | ack | rst) == ack meta mark " + hexadecimal(HOLD_COOKIE_MARK) +
             ports + " meta mark set 0 goto agent comment \"a new flow, by SYN cookie\"\n";
    chain += "        tcp sport 32768-65535 tcp dport 1-32767" + ports +
             " goto agent comment \"an old flow: RST\"\n";
    return chain + quic_rejects(config) + "    }\n";
}

// How a family of addresses is called in rules.
struct LocalFamily {
    std::string set;
    std::string family;
    std::string prefix;
    std::string type;
};

std::string local_set(const LocalFamily& of, std::uint32_t idle_s) {
    return "    set " + of.set + " {\n        type " + of.type + " . inet_service . " + of.type +
           " . inet_service\n        flags dynamic, timeout\n        size 1048576\n        timeout " +
           std::to_string(idle_s) + "s\n    }\n";
}

std::string local_rules(const LocalFamily& of, const std::string& ports, const std::string& set_mark) {
    const std::string key = of.prefix + " saddr . tcp sport . " + of.prefix + " daddr . tcp dport";
    const std::string remember = " update @" + of.set + " { " + key + " }" + set_mark + " accept\n";
    return "        tcp flags & (syn | ack) == syn" + ports + " meta nfproto " + of.family + remember +
           "        " + key + " @" + of.set + remember;
}

// The gateway's own clients. A SYN that finds no room in the set goes nowhere.
std::string local_clients(const CaptureConfig& config, const std::string& set_mark) {
    if (!config.local) return {};
    const std::string ports = config.ports.empty() ? "" : " tcp dport @ports";
    std::string text;
    std::string rules = exclusions(config) + for_the_gateway;
    for (const LocalFamily& of : {LocalFamily{"local_v4", "ipv4", "ip", "ipv4_addr"},
                                  LocalFamily{"local_v6", "ipv6", "ip6", "ipv6_addr"}}) {
        text += local_set(of, config.local_idle_s);
        rules += local_rules(of, ports, set_mark);
    }
    rules +=
        "        tcp flags & (syn | ack) == syn" + ports + " counter drop comment \"fail closed: no room\"\n";
    return text + "    chain local_clients {\n" + rules + quic_rejects(config) +
           "    }\n"
           "    chain output {\n"
           "        type route hook output priority mangle; policy accept;\n"
           "        socket transparent 1 return comment \"of the agent's sockets\"\n"
           "        meta l4proto { 6, 17 } jump local_clients\n"
           "    }\n";
}

// The agent's sockets come first: theirs are the packets of both legs, from any interface, and the ICMP
// errors about them (an upstream socket with a client's address would otherwise never hear of a smaller MTU
// or a refusal). A lone SYN is left out, as it belongs to no connection yet but could meet another program's
// transparent listener. No `socket wildcard`: it does not match in TIME_WAIT, and the last FIN of a server
// would be forwarded to the client.
std::string prerouting_chain(const CaptureConfig& config, const std::string& mark,
                             const std::string& set_mark) {
    const std::string interfaces =
        list(config.interfaces, [](const std::string& name) { return '"' + name + '"'; });
    const std::string from_clients =
        interfaces.empty() ? ""
                           : "        iifname { " + interfaces + " } meta l4proto { 6, 17 } jump clients\n";
    const std::string from_output =
        config.local ? "        iifname \"lo\" meta l4proto 6 tcp flags & (syn | ack) == syn meta mark & " +
                           mark + " == " + mark + " goto agent comment \"of the gateway's own clients\"\n"
                     : "";
    return "    chain prerouting {\n"
           "        type filter hook prerouting priority mangle; policy accept;\n"
           "        meta l4proto 6 tcp flags & (syn | ack) != syn socket transparent 1" +
           set_mark +
           " accept comment \"of the agent's sockets\"\n"
           "        meta l4proto { 1, 58 } socket transparent 1" +
           set_mark + " accept comment \"errors for them\"\n" + from_output + from_clients + "    }\n";
}

// Copies of name servers' answers to captured clients. From where the name server is reached, as the routing
// table has it, so that nobody on another link can send them in its name; never from a client.
std::string observe_chain(const CaptureConfig& config) {
    const std::string interfaces =
        list(config.interfaces, [](const std::string& name) { return '"' + name + '"'; });
    if (config.observe.empty() || interfaces.empty()) return {};
    std::string rules;
    for (const bool v4 : {true, false}) {
        std::vector<policy::IpAddress> servers;
        for (const policy::IpAddress& server : config.observe) {
            if (server.is_v4() == v4) servers.push_back(server);
        }
        if (servers.empty()) continue;
        const std::string addresses =
            list(servers, [](const policy::IpAddress& server) { return server.to_string(); });
        rules.append("        iifname != { ").append(interfaces).append(" } oifname { ").append(interfaces);
        rules.append(" } meta l4proto 17 udp sport 53 ").append(v4 ? "ip" : "ip6").append(" saddr { ");
        rules.append(addresses).append(" } fib saddr . iif oif exists log group ");
        rules.append(std::to_string(dns_log_group)).append(" snaplen ");
        rules.append(std::to_string(dns_log_bytes)).append("\n");
    }
    return "    chain observe {\n"
           "        type filter hook forward priority filter; policy accept;\n" +
           rules + "    }\n";
}

}  // namespace

std::string capture_ruleset(const CaptureConfig& config) {
    validate(config);
    const std::string mark = hexadecimal(config.mark);
    const std::string set_mark = " meta mark set meta mark | " + mark;
    return "table inet sluice {}\n"
           "delete table inet sluice\n"
           "table inet sluice {\n" +
           sets(config) + agent_chain(config, set_mark) + clients_chain(config) +
           prerouting_chain(config, mark, set_mark) + local_clients(config, set_mark) +
           observe_chain(config) + "}\n";
}

void install_capture(const CaptureConfig& config) {
    if (!config.install) return;
    const std::string ruleset = capture_ruleset(config);
    try {
        install_routing(config.mark, config.routing_table);
        run_nft(table_object, ruleset);
    } catch (const CaptureError&) {
        try {
            remove_capture(config);
        } catch (
            const CaptureError&) {  // the first failure says why; without privileges this one only repeats it
        }
        throw;
    }
}

void remove_capture(const CaptureConfig& config) {
    if (!config.install) return;
    run_nft(table_object, "table inet sluice {}\ndelete table inet sluice\n");
    remove_routing();
}

}  // namespace sluice::datapath
