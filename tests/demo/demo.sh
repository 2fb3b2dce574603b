#!/bin/bash
# Real clients through a real gateway: what `./dev demo` shows. The lab is drawn in tests/support/lab.sh; everything
# else it makes is in the two directories below, and goes away with it.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

lab=sluice-demo
# shellcheck source=tests/support/lab.sh
source tests/support/lab.sh

RUN=/run/sluice-demo
STATE=/sys/fs/bpf/sluice-demo
CLIENT_FILES=/etc/netns/$lab-client  # `ip netns exec` puts these over those in /etc
CONFIG=packaging/sluice.yaml
NAMES=(www.example.com shop.example.net tracker.invalid ssh.example.com mail.example.com)
NAMES6=(api.example.org)
SLUICE=build/sluice

checks=0 failures=0 agent=
if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'; else
    bold='' dim='' red='' green='' plain=''
fi

fail() {
    echo "demo: $*" >&2
    exit 1
}

clean() {
    lab_down
    rm -rf "$RUN" "$CLIENT_FILES" "$STATE"
    rmdir --ignore-fail-on-non-empty /etc/netns 2>/dev/null || true
}

# --- the servers -----------------------------------------------------------------------------------------------------

make_certificate() {
    local names
    names=$(printf 'DNS:%s,' "${NAMES[@]}" "${NAMES6[@]}")
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=sluice demo" \
        -addext "subjectAltName=${names%,}" -keyout "$RUN/key.pem" -out "$RUN/ca.pem" 2>/dev/null
}

start_web() {
    truncate -s 1G "$RUN/large"
    head -c 3M /dev/urandom >"$RUN/film"
    cat >"$RUN/nginx.conf" <<CONFIG
pid $RUN/nginx.pid;
error_log $RUN/nginx-error.log;
user root;
events {}
http {
    log_format names '\$remote_addr \$ssl_server_name \$host';
    access_log $RUN/web.log names;
    server {
        listen 80;
        listen 443 ssl;
        listen [::]:443 ssl;
        ssl_certificate $RUN/ca.pem;
        ssl_certificate_key $RUN/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / { default_type text/plain; return 200 "this is \$host; you are \$remote_addr\n"; }
        location /large { alias $RUN/large; limit_rate 64k; }
        location /film { alias $RUN/film; limit_rate 1m; }
    }
}
CONFIG
    lab_daemon server "$RUN/nginx.log" nginx -e "$RUN/nginx-error.log" -c "$RUN/nginx.conf" -g "daemon off;"
}

start_ssh() {
    local use_pam=no
    # Without PAM sshd lets nobody into an account that is locked, as root's is on many machines.
    [[ $(getent shadow root) != root:!* ]] || use_pam=yes
    # HOME is another, so that the account's own shell start-up files have no part in the demo.
    mkdir -p /run/sshd
    ssh-keygen -q -t ed25519 -N '' -f "$RUN/host_key"
    ssh-keygen -q -t ed25519 -N '' -f "$RUN/user_key"
    cat >"$RUN/sshd_config" <<CONFIG
ListenAddress $server_ip
HostKey $RUN/host_key
AuthorizedKeysFile $RUN/user_key.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM $use_pam
PrintMotd no
SetEnv HOME=$RUN
PidFile none
CONFIG
    echo "ssh.example.com $(cat "$RUN/host_key.pub")" >"$RUN/known_hosts"
    cat >"$RUN/ssh_config" <<CONFIG
User root
IdentityFile $RUN/user_key
IdentitiesOnly yes
UserKnownHostsFile $RUN/known_hosts
StrictHostKeyChecking yes
LogLevel ERROR
CONFIG
    lab_daemon server "$RUN/sshd.log" /usr/sbin/sshd -D -e -f "$RUN/sshd_config"
}

start_mail() {
    lab_daemon server "$RUN/mail.log" socat TCP-LISTEN:25,fork,reuseaddr EXEC:"$PWD/tests/demo/smtp_server.sh"
}

start_servers() {
    local port
    make_certificate
    start_web
    start_ssh
    start_mail
    for port in 443 22 25; do
        wait_for 10 listens server $port || fail "no server on port $port: $(cat "$RUN"/*.log)"
    done
    mkdir -p "$CLIENT_FILES"
    {
        echo "127.0.0.1 localhost"
        echo "$server_ip ${NAMES[*]}"
        echo "$server_ip6 ${NAMES6[*]}"
    } >"$CLIENT_FILES/hosts"
}

# --- the gateway -----------------------------------------------------------------------------------------------------

agent_runs() { "$SLUICE" --state "$STATE" status && in_lab gateway nft list table inet sluice; }
agent_gone() { [[ ! -e /proc/$agent ]]; }

start_sluice() {
    lab_daemon gateway "$RUN/sluice.log" "$SLUICE" --state "$STATE" run -c "$CONFIG"
    agent=$daemon_pid
    wait_for 10 agent_runs || fail "sluice does not start: $(cat "$RUN/sluice.log")"
}

# --- the clients -----------------------------------------------------------------------------------------------------

in_client() { ip netns exec "$lab-client" env CURL_CA_BUNDLE="$RUN/ca.pem" SSL_CERT_FILE="$RUN/ca.pem" "$@"; }

section() { printf '\n%s== %s%s\n' "$bold" "$1" "$plain"; }

verdict() { # TRUE|FALSE
    checks=$((checks + 1))
    if $1; then
        echo "   ${green}ok${plain}"
    else
        failures=$((failures + 1))
        echo "   ${red}FAIL${plain}"
    fi
}

# expect REGEX COMMAND...: runs it on the client; its output must match, and the lines that do are shown.
expect() {
    local regex=$1 output
    shift
    printf '%s$ %s%s\n' "$dim" "$*" "$plain"
    output=$(timeout 10 ip netns exec "$lab-client" env CURL_CA_BUNDLE="$RUN/ca.pem" SSL_CERT_FILE="$RUN/ca.pem" \
        "$@" 2>&1 </dev/null || true)
    if grep -qE "$regex" <<<"$output"; then
        grep -E -m1 "$regex" <<<"$output" | sed 's/^/   /'
        verdict true
    else
        tail -n 12 <<<"$output"
        echo "   expected: $regex"
        verdict false
    fi
}

show_allowed() {
    section "Names that the policy allows. The server sees the client's own address"
    expect 'this is www.example.com; you are 10.77.1.2' curl -sS https://www.example.com/
    expect 'this is api.example.org; you are 2001:db8:1::2' curl -sS https://api.example.org/
    expect 'this is www.example.com; you are 10.77.1.2' curl -sS http://www.example.com/
    expect 'Verify return code: 0' openssl s_client -connect shop.example.net:443 -servername shop.example.net
    expect 'Handshake was completed' gnutls-cli --x509cafile "$RUN/ca.pem" shop.example.net
}

show_denied() {
    section "A name that it denies, with a TLS alert. The server never hears of it"
    expect 'alert access denied' curl -sS https://tracker.invalid/
    expect 'alert access denied' openssl s_client -connect tracker.invalid:443 -servername tracker.invalid
    expect 'Access was denied' gnutls-cli --x509cafile "$RUN/ca.pem" tracker.invalid
    printf '%s$ grep -c tracker.invalid %s%s\n' "$dim" "$RUN/web.log" "$plain"
    if grep -q tracker.invalid "$RUN/web.log"; then verdict false; else echo "   0" && verdict true; fi
}

show_server_first() {
    section "Protocols in which the server may speak first"
    expect '^hello from root$' ssh -F "$RUN/ssh_config" ssh.example.com echo hello from root
    printf 'Subject: hello\r\n\r\nhello\r\n' >"$RUN/mail"
    expect '^< 250 taken' curl -sSv --url smtp://mail.example.com --mail-from a@example.com --mail-rcpt b@example.com \
        --upload-file "$RUN/mail"
}

film_is_under_way() { "$SLUICE" --state "$STATE" flows --json server_name=www.example.com | grep -q '"mode":"packet"'; }

show_fail_closed() {
    local film=$RUN/film.received download
    section "The agent is killed in the middle of a download: that goes on, and nothing new passes unseen"
    printf '%s$ curl -sS https://www.example.com/film | sha256sum &%s\n' "$dim" "$plain"
    lab_client_daemon curl -sS -o "$film" https://www.example.com/film
    download=$!
    wait_for 10 film_is_under_way
    printf '%s$ kill -9 %s%s\n' "$dim" "$agent" "$plain"
    kill -KILL "$agent"
    wait_for 10 agent_gone
    expect 'timed out|[Tt]imeout' curl -sS --connect-timeout 1 https://www.example.com/
    echo "   the download, by SHA-256, with no agent there:"
    wait_for 20 process_gone "$download"
    expect "^$(sha256sum <"$RUN/film" | cut -c1-64)" sha256sum "$film"
    start_sluice
    expect 'this is www.example.com; you are 10.77.1.2' curl -sS https://www.example.com/
}

process_gone() { ! kill -0 "$1" 2>/dev/null; }

# --- what the operator sees --------------------------------------------------------------------------------------------

hold_flows_open() {
    lab_client_daemon curl -sS -o /dev/null https://www.example.com/large
    lab_client_daemon ssh -F "$RUN/ssh_config" ssh.example.com 'sleep 3600'
    lab_client_daemon bash -c 'exec 3<>/dev/tcp/mail.example.com/25; read -r <&3; echo "MAIL FROM:<a@example.com>" >&3; sleep 3600'
}

lab_client_daemon() {
    ip netns exec "$lab-client" env CURL_CA_BUNDLE="$RUN/ca.pem" "$@" >/dev/null 2>&1 </dev/null &
    disown
}

# Counters in the table are a second old at most.
all_three_flow() { [[ $("$SLUICE" --state "$STATE" flows --json | grep -c '"state":"spliced".*"bytes_down":[1-9]') -ge 3 ]]; }

show_flows() {
    section "The live flows: a download, an SSH session, a mail session"
    hold_flows_open
    printf '%s$ sluice flows%s\n' "$dim" "$plain"
    if wait_for 10 all_three_flow; then
        "$SLUICE" --state "$STATE" flows
        verdict true
    else
        "$SLUICE" --state "$STATE" flows
        verdict false
    fi
}

# show_log WHAT PATTERN: the log's first line that matches.
show_log() {
    echo "$1:"
    if grep -E -m1 "$2" "$RUN/sluice.log"; then verdict true; else verdict false; fi
}

show_logs() {
    section "What the log says of them: one line at the verdict, one at the end"
    show_log "an allowed flow" '"event":"end".*"server_name":"www\.example\.com".*"decision":"allow"'
    show_log "a denied flow" '"event":"verdict".*"server_name":"tracker\.invalid".*"decision":"deny"'
    show_log "a server-first flow" '"event":"verdict".*:25".*"protocol":"smtp".*"decision":"allow"'
}

summary() {
    echo
    if [[ $failures -gt 0 ]]; then
        echo "${red}demo: $failures of $checks were not as expected${plain}"
        return 1
    fi
    echo "${green}demo: all $checks as expected${plain}"
}

stay() {
    trap - EXIT
    cat <<TEXT

The lab stays up. On the client, with the demo's certificate:
  ip netns exec $lab-client curl --cacert $RUN/ca.pem https://www.example.com/
  ip netns exec $lab-client curl --cacert $RUN/ca.pem https://tracker.invalid/
  ip netns exec $lab-client ssh -F $RUN/ssh_config ssh.example.com
On the gateway:
  $SLUICE --state $STATE flows --watch
  $SLUICE --state $STATE flows kill ID
  $SLUICE --state $STATE status
  nsenter --net=/run/netns/$lab-gateway nft list table inet sluice
  tail -f $RUN/sluice.log
Remove it all:
  ./dev demo --clean
TEXT
}

main() {
    local option=${1:-}
    [[ $EUID -eq 0 ]] || fail "needs root"
    case $option in
        '' | --stay) ;;
        --clean) clean && return ;;
        *) fail "'$option' is not known; there are --stay and --clean" ;;
    esac
    trap clean EXIT
    trap 'exit 130' INT TERM HUP
    clean
    mkdir -p "$RUN"
    section "Three network namespaces: client -- gateway -- server"
    lab_up
    start_servers
    echo "nginx (TLS), sshd and a mail server run on the server"
    start_sluice
    echo "sluice run -c $CONFIG runs on the gateway"
    show_allowed
    show_denied
    show_server_first
    show_fail_closed
    show_flows
    show_logs
    if [[ $option == --stay ]]; then stay; fi
    summary
}

main "$@"
