# shellcheck shell=bash
# Three network namespaces: a client, a gateway that forwards, and a server that stands for the internet. Sourced by
# the demo and the benchmark, with `lab` set to the prefix of the namespaces' names. Nothing of the host is touched.
#
#   $lab-client                       $lab-gateway                        $lab-server
#   eth0  10.77.1.2      <- veth ->   lan0  10.77.1.1
#         2001:db8:1::2                     2001:db8:1::1
#                                     wan0  203.0.113.1      <- veth ->   eth0  203.0.113.10
#                                           2001:db8:2::1                       2001:db8:2::10
: "${lab:?set lab before sourcing this file}"
# shellcheck disable=SC2034  # for those who source this
client_ip=10.77.1.2 server_ip=203.0.113.10 server_ip6=2001:db8:2::10

# in_lab client|gateway|server COMMAND...: only the network is another one. (`ip netns exec` would also mount a new
# /sys, in which the agent's pinned maps cannot be found.)
in_lab() {
    local where=$1
    shift
    nsenter --net="/run/netns/$lab-$where" -- "$@"
}

# lab_daemon NAMESPACE LOG COMMAND...: in the background, until lab_down; daemon_pid is its process.
lab_daemon() {
    local where=$1 log=$2
    shift 2
    nsenter --net="/run/netns/$lab-$where" -- "$@" >>"$log" 2>&1 </dev/null &
    # shellcheck disable=SC2034  # for those who source this
    daemon_pid=$!
    disown
}

lab_address() { # NAMESPACE INTERFACE IPV4 IPV6
    ip -n "$lab-$1" address add "$3/24" dev "$2"
    ip -n "$lab-$1" -6 address add "$4/64" dev "$2" nodad
    ip -n "$lab-$1" link set "$2" up
}

lab_up() {
    local where
    lab_down
    for where in client gateway server; do
        ip netns add "$lab-$where"
        ip -n "$lab-$where" link set lo up
    done
    ip link add eth0 netns "$lab-client" type veth peer name lan0 netns "$lab-gateway"
    ip link add eth0 netns "$lab-server" type veth peer name wan0 netns "$lab-gateway"
    lab_address client eth0 $client_ip 2001:db8:1::2
    lab_address gateway lan0 10.77.1.1 2001:db8:1::1
    lab_address gateway wan0 203.0.113.1 2001:db8:2::1
    lab_address server eth0 $server_ip $server_ip6
    ip -n "$lab-client" route add default via 10.77.1.1
    ip -n "$lab-client" -6 route add default via 2001:db8:1::1
    ip -n "$lab-server" route add default via 203.0.113.1
    ip -n "$lab-server" -6 route add default via 2001:db8:2::1
    in_lab gateway sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 \
        net.ipv4.conf.lan0.rp_filter=0 net.ipv4.conf.wan0.rp_filter=0
}

# Ends whatever still runs in the namespaces, also what an earlier, killed run left behind.
lab_down() {
    local where pids
    for where in client gateway server; do
        [[ -e /run/netns/$lab-$where ]] || continue
        pids=$(ip netns pids "$lab-$where" 2>/dev/null || true)
        # shellcheck disable=SC2086  # a list of numbers
        [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
        ip netns delete "$lab-$where"
    done
}

# wait_for SECONDS COMMAND...: until it succeeds; 1 when the time is over.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

listens() { # NAMESPACE PORT
    [[ -n $(in_lab "$1" ss -Htln "sport = :$2") ]]
}
