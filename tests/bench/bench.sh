#!/bin/bash
# Plain forwarding, HAProxy and sluice under the same loads (load.cpp), interleaved in one run: every round measures,
# load by load, every subject, each in fresh namespaces, so that no subject inherits another's TIME_WAIT sockets and a
# slow half minute of the machine hits all of them alike. Reported are medians over the rounds.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

lab=sluice-bench
# shellcheck source=tests/support/lab.sh
source tests/support/lab.sh

LOAD=build/load SLUICE=build/sluice
WORK=/run/sluice-bench
SECONDS_PER_CELL=3
LOADS=(bulk request_response_64 new_flows)
SUBJECTS=(forward haproxy sluice-relay sluice-sockmap sluice-packet)

json=false rounds=5

fail() {
    echo "bench: $*" >&2
    exit 1
}

clean() {
    lab_down
    rm -rf "$WORK" /sys/fs/bpf/sluice-bench
}

# --- subjects: each makes the gateway carry TCP from lan0 to wan0 its own way ------------------------------------------

start_forward() { :; }

# HAProxy as a transparent proxy: the client's address is kept, the original destination dialled, bytes spliced.
start_haproxy() {
    cat >"$WORK/haproxy.cfg" <<'CONFIG'
global
    nbthread 2
    maxconn 4000
defaults
    mode tcp
    option splice-auto
    timeout connect 10s
    timeout client 1m
    timeout server 1m
frontend lan
    bind :15001 transparent
    default_backend original_destination
backend original_destination
    source 0.0.0.0 usesrc clientip
    server original 0.0.0.0
CONFIG
    in_lab gateway nft -f - <<'RULES'
table ip bench {
    chain prerouting {
        type filter hook prerouting priority mangle
        meta l4proto tcp socket transparent 1 meta mark set 1 accept
        iifname lan0 meta l4proto tcp tproxy to :15001 meta mark set 1 accept
    }
}
RULES
    ip -n $lab-gateway rule add fwmark 1 lookup 100
    ip -n $lab-gateway route add local default dev lo table 100
    lab_daemon gateway "$WORK/haproxy.log" haproxy -db -f "$WORK/haproxy.cfg"
    wait_for 10 listens gateway 15001 || fail "HAProxy does not start: $(cat "$WORK/haproxy.log")"
}

start_sluice() { # SPLICE MODE
    cat >"$WORK/sluice.yaml" <<CONFIG
capture:
  interfaces: [lan0]
splice: $1
policy:
  default: {action: allow, log: false}
CONFIG
    lab_daemon gateway "$WORK/sluice.log" "$SLUICE" --state /sys/fs/bpf/sluice-bench run -c "$WORK/sluice.yaml"
    wait_for 10 listens gateway 15001 || fail "sluice does not start: $(cat "$WORK/sluice.log")"
}

start_subject() {
    case $1 in
        forward) start_forward ;;
        haproxy) start_haproxy ;;
        sluice-*) start_sluice "${1#sluice-}" ;;
        *) fail "'$1' is not a subject; there are: ${SUBJECTS[*]}" ;;
    esac
}

# --- measuring -------------------------------------------------------------------------------------------------------

# All hosts may use every port, and remember every closed flow: neither limit is what is measured here.
tune() {
    local where
    for where in client gateway server; do
        in_lab $where sysctl -qw net.ipv4.ip_local_port_range="1024 65535" net.ipv4.tcp_max_tw_buckets=1000000
    done
    in_lab client sysctl -qw net.ipv4.tcp_tw_reuse=1
}

measure() { # SUBJECT LOAD ROUND
    local subject=$1 what=$2 result
    lab_up
    tune
    mkdir -p "$WORK"
    start_subject "$subject"
    lab_daemon server "$WORK/load.log" "$LOAD" server $server_ip
    wait_for 10 listens server 9000 || fail "the load server does not start"
    result=$(in_lab client "$LOAD" client "$what" $server_ip $SECONDS_PER_CELL) || fail "$subject failed at $what"
    echo "$what $subject $result" >>"$WORK/results"
    echo "round $3/$rounds  $subject  $what  $result" >&2
    lab_down
    rm -rf /sys/fs/bpf/sluice-bench
}

# "what subject value cpu_per_unit" of every round -> the same of the medians, in the order first seen.
medians() {
    awk '
    function median(list,   values, n, i, j, swap) {
        n = split(list, values, " ")
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && values[j - 1] + 0 > values[j] + 0; j--) {
                swap = values[j]; values[j] = values[j - 1]; values[j - 1] = swap
            }
        return n % 2 ? values[(n + 1) / 2] : (values[n / 2] + values[n / 2 + 1]) / 2
    }
    { key = $1 " " $2; if (!(key in value)) order[++keys] = key; value[key] = value[key] " " $3; cpu[key] = cpu[key] " " $4 }
    END { for (i = 1; i <= keys; i++) print order[i], median(value[order[i]]), median(cpu[order[i]]) }' "$WORK/results"
}

report() {
    medians | sort -s -k1,1 | awk -v json=$json '
    BEGIN {
        unit["bulk"] = "Gbit/s"; unit["request_response_64"] = "transactions/s"; unit["new_flows"] = "flows/s"
        cpu_unit["bulk"] = "s/GB"; cpu_unit["request_response_64"] = "us/transaction"; cpu_unit["new_flows"] = "us/flow"
    }
    { what[NR] = $1; subject[NR] = $2; value[NR] = $3; cpu[NR] = $4; by[$1, $2] = $3 }
    function ratio(value, what, to) { return by[what, to] ? sprintf("%.3f", value / by[what, to]) : "null" }
    END {
        if (json == "false")
            printf "%-20s %-14s %12s %-15s %10s %-15s %10s %10s\n", "load", "subject", "value", "", "CPU", "", \
                "/forward", "/haproxy"
        for (i = 1; i <= NR; i++) {
            forward = ratio(value[i], what[i], "forward"); haproxy = ratio(value[i], what[i], "haproxy")
            if (json == "true")
                printf "{\"what\":\"%s\",\"subject\":\"%s\",\"value\":%s,\"unit\":\"%s\",\"cpu_per_unit\":%s,\"ratio_to_forward\":%s}\n", \
                    what[i], subject[i], value[i], unit[what[i]], cpu[i], forward
            else
                printf "%-20s %-14s %12.2f %-15s %10.2f %-15s %10s %10s\n", what[i], subject[i], value[i], \
                    unit[what[i]], cpu[i], cpu_unit[what[i]], forward, haproxy
        }
    }'
}

main() {
    local chosen=() loads=() round subject what
    while [[ $# -gt 0 ]]; do
        case $1 in
            --json) json=true ;;
            --rounds) rounds=${2:?--rounds needs a number} && shift ;;
            --subject) chosen+=("${2:?--subject needs a name}") && shift ;;
            --load) loads+=("${2:?--load needs a name}") && shift ;;
            *) fail "'$1' is not known; there are --json, --rounds N, --subject NAME and --load NAME" ;;
        esac
        shift
    done
    [[ $rounds =~ ^[1-9][0-9]*$ ]] || fail "--rounds: '$rounds' is not a number"
    [[ $EUID -eq 0 ]] || fail "needs root"
    [[ ${#chosen[@]} -eq 0 ]] || SUBJECTS=("${chosen[@]}")
    [[ ${#loads[@]} -eq 0 ]] || LOADS=("${loads[@]}")
    trap clean EXIT
    trap 'exit 130' INT TERM
    clean
    mkdir -p "$WORK"
    for ((round = 1; round <= rounds; round++)); do
        for what in "${LOADS[@]}"; do
            for subject in "${SUBJECTS[@]}"; do measure "$subject" "$what" $round; done
        done
    done
    report
}

main "$@"
