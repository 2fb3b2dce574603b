#!/bin/bash
# Proves that no install step is missing: makes a minimal Debian 12 with debootstrap, copies the tree into it and runs
# `./dev demo` and `./dev test` there, or the commands given. On demand: it takes most of an hour, 6 GB of /var/tmp
# (TMPDIR sets another place) and a Debian mirror, the one that this machine uses.
#
#   tests/debootstrap.sh ["COMMAND" ...]
#
# It runs in mount and PID namespaces of its own: whatever it mounts or starts is gone when it ends, however it ends.
set -euo pipefail
tree=$(readlink -f "$(dirname "$(readlink -f "$0")")/..")

fail() {
    echo "debootstrap: $*" >&2
    exit 1
}

[[ $EUID -eq 0 ]] || fail "needs root"
export PATH="$PATH:/usr/sbin:/sbin"
command -v debootstrap >/dev/null || fail "needs the package debootstrap: apt-get install debootstrap"

# The outer half owns the directory, the inner half what happens in it.
if [[ -z ${SLUICE_CHROOT:-} ]]; then
    SLUICE_CHROOT=$(mktemp -d "${TMPDIR:-/var/tmp}/sluice-debian.XXXXXX")
    export SLUICE_CHROOT
    trap 'rm -rf --one-file-system "$SLUICE_CHROOT"' EXIT
    trap 'exit 130' INT TERM HUP
    unshare --mount --pid --fork --kill-child --mount-proc "$0" "$@" &
    wait $!
    exit
fi
root=$SLUICE_CHROOT

install_debian() {
    local mirror
    # shellcheck disable=SC2016  # apt's variables
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/\?$') ||
        mirror=http://deb.debian.org/debian
    mirror=${mirror%/}
    echo "== debootstrap bookworm from $mirror"
    debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 || { tail "$root.log" >&2; fail "debootstrap failed"; }
    rm -f "$root.log"
    cat >"$root/etc/apt/sources.list" <<SOURCES
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb ${mirror%/debian}/debian-security bookworm-security main
SOURCES
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
}

copy_tree() {
    mkdir "$root/sluice"
    (cd "$tree" && git -c safe.directory="$tree" ls-files -z --cached --others --exclude-standard | tar -c --null -T -) |
        tar -x -C "$root/sluice"
}

mount_kernel_filesystems() {
    # `ip netns exec` wants its root to be a mount point.
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    mount -t tmpfs tmpfs "$root/tmp"
}

install_debian
copy_tree
mount_kernel_filesystems
[[ $# -gt 0 ]] || set -- "./dev demo" "./dev test"
for command in "$@"; do
    echo "== in a minimal Debian $(cat "$root/etc/debian_version"): $command"
    chroot "$root" env -i HOME=/root TERM="${TERM:-dumb}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash -c "cd /sluice && $command" </dev/null || fail "'$command' failed"
done
echo "debootstrap: all well"
