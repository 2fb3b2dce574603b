#include "tests/support/lab.h"

#include <sys/resource.h>

#include <stdexcept>

#include "tests/support/process.h"

namespace sluice::test {

namespace {

// The soft limit is 1,024 on most machines; a test with thousands of sockets needs what the machine can give.
void raise_descriptor_limit() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string edge_setup(char network, const LabOptions& options) {
    const std::string v4 = std::string("10.10.") + network + ".";
    const std::string v6 = std::string("fd00:") + network + "::";
    return "address add " + v4 + "2/24 dev eth0\naddress add " + v6 +
           "2/64 dev eth0 nodad\nlink set eth0 mtu " + std::to_string(options.mtu) +
           " up\nroute add default via " + v4 + "1\nroute add default via " + v6 + "1\n";
}

std::string gateway_setup(const std::string& device, char network, const LabOptions& options) {
    return std::string("address add 10.10.") + network + ".1/24 dev " + device +
           "\naddress add fd00:" + network + "::1/64 dev " + device + " nodad\nlink set " + device + " mtu " +
           std::to_string(options.mtu) + " up\n";
}

// Connects eth0 of `edge` with `device` of `gateway`.
std::unique_ptr<Wire> link(const Netns& edge, const Netns& gateway, const std::string& device,
                           const std::optional<WireOptions>& wire) {
    if (wire) return std::make_unique<Wire>(WireEnd{edge, "eth0"}, WireEnd{gateway, device}, *wire);
    gateway.ip("link add " + device + " type veth peer name eth0 netns " + edge.name() + "\n");
    return nullptr;
}

// One end of a rough link: what it sends may be late or doubled, what it receives may be lost.
void roughen(const Netns& netns, const std::string& device) {
    // Segments as they are on a wire, not bundles of 64 KiB that would be lost whole.
    netns.ip("link set dev " + device + " gso_max_segs 1\n");
    netns.tc("qdisc add dev " + device + " root handle 1: htb default 1\nclass add dev " + device +
             " parent 1: classid 1:1 htb rate 10gbit quantum 60000\nclass add dev " + device +
             " parent 1: classid 1:2 htb rate 20mbit burst 1600 cburst 1600\nqdisc add dev " + device +
             " parent 1:2 pfifo limit 20\n");
    const std::string rules =
        "table netdev rough_" + device + " {\n  chain in {\n    type filter hook ingress device " + device +
        " priority -500;\n    meta l4proto tcp numgen random mod 100 < 1 drop\n  }\n  chain out {\n" +
        "    type filter hook egress device " + device + " priority 0;\n" +
        "    meta l4proto tcp numgen random mod 100 < 2 meta priority set 1:2\n" +
        "    meta l4proto tcp numgen random mod 100 < 1 dup to " + device + "\n  }\n}\n";
    const Finished nft = run_process({"nft", "-f", "-"}, {.netns = &netns, .input = rules});
    if (nft.exit_code != 0) throw std::runtime_error("nft: " + nft.err);
}

}  // namespace

Lab::Lab(const LabOptions& options) {
    static const bool once = (raise_descriptor_limit(), Netns::remove_leftovers(), true);
    static_cast<void>(once);

    // Link-local addresses are usable at once: duplicate address detection takes seconds.
    for (const Netns* netns : {&client_, &gateway_, &server_}) {
        netns->sysctl("net/ipv6/conf/all/accept_dad", "0");
        netns->sysctl("net/ipv6/conf/default/accept_dad", "0");
    }
    for (const char* key : {"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"})
        gateway_.sysctl(key, "1");
    client_wire_ = link(client_, gateway_, "lan0", options.client_wire);
    server_wire_ = link(server_, gateway_, "wan0", options.server_wire);
    gateway_.ip(gateway_setup("lan0", '1', options) + gateway_setup("wan0", '2', options));
    client_.ip(edge_setup('1', options));
    std::string server = edge_setup('2', options);
    for (unsigned index = 1; index < options.server_addresses; ++index) {
        server += "address add " + server_v4(0, index).address.to_string() + "/24 dev eth0\n";
    }
    server_.ip(server);

    if (options.rough_client_link) {
        roughen(client_, "eth0");
        roughen(gateway_, "lan0");
    }
    if (options.rough_server_link) {
        roughen(gateway_, "wan0");
        roughen(server_, "eth0");
    }
}

policy::Endpoint Lab::server_v4(std::uint16_t port, unsigned index) {
    return endpoint("10.10.2." + std::to_string(2 + index) + ":" + std::to_string(port));
}

policy::Endpoint Lab::server_v6(std::uint16_t port) {
    return endpoint("[fd00:2::2]:" + std::to_string(port));
}

policy::Endpoint endpoint(const std::string& text) {
    // Endpoint::parse may refuse port 0, which here means "any".
    const std::size_t colon = text.rfind(':');
    std::string address = text.substr(0, colon);
    if (address.starts_with('[')) address = address.substr(1, address.size() - 2);
    const auto parsed = policy::IpAddress::parse(address);
    if (colon == std::string::npos || !parsed) throw std::invalid_argument("not an endpoint: " + text);
    return {*parsed, static_cast<std::uint16_t>(std::stoul(text.substr(colon + 1)))};
}

}  // namespace sluice::test
