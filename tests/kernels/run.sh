#!/bin/bash
# Runs the kernel tests on the kernels of Debian 12 and 13, all at once, in emulated machines (no KVM, no root needed):
#
#   tests/kernels/run.sh BUILD [GTEST OPTION]...
#
# BUILD is a directory with kernel_tests in it. A machine has no disk. Its initramfs holds a kernel package's modules
# (unpacked, not installed; kept in build/kernels) and this machine's own tools and libraries, the ones that the tests
# were linked with. Fails when a test fails, is skipped or takes too long, when none ran, and when the kernel panics.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
export PATH="$PATH:/usr/sbin:/sbin"

SERIES=(6.1 6.12)  # of Debian 12; and of Debian 13, which Debian 12 has too
TOOLS=(sh cat sleep stty mount modprobe ip tc nft sysctl)
MODULES=(net lib crypto drivers/net/veth drivers/net/tun)  # folders and files below the package's kernel/
CACHE=build/kernels
TIME_LIMIT_S=900  # for all; two minutes are usual

fail() {
    echo "kernels: $*" >&2
    exit 1
}

# The newest package of a series that apt knows: Debian renames it with each ABI and drops the old ones.
kernel_package() { # SERIES
    apt-cache search --names-only "^linux-image-${1//./\\.}\\.[^ ]*-cloud-amd64$" | cut -d ' ' -f 1 | sort -V | tail -1
}

archive() { # DIRECTORY FILE
    (cd "$1" && find . | cpio --quiet -o -H newc -R 0:0) >"$2"
}

# Makes CACHE/PACKAGE: vmlinuz and modules.cpio.
unpack_kernel() { # PACKAGE
    local package=$1 release=${1#linux-image-} work=$CACHE/unpacked module
    local modules=lib/modules/$release
    [[ -e $CACHE/$package/modules.cpio ]] && return
    rm -rf "$work"
    mkdir -p "$work/debian" "$work/image/$modules/kernel/drivers/net" "$CACHE/$package"
    (cd "$work" && apt-get -q download "$package") >"$CACHE/apt.log" 2>&1 || {
        cat "$CACHE/apt.log" >&2
        fail "cannot download $package (old package lists? apt-get update)"
    }
    dpkg -x "$work"/*.deb "$work/debian"
    cp "$work/debian/boot/vmlinuz-$release" "$CACHE/$package/vmlinuz"
    cp "$work/debian/$modules"/modules.{order,builtin*} "$work/image/$modules/"
    for module in "${MODULES[@]}"; do
        cp -r "$work/debian/$modules/kernel/$module"* "$work/image/$modules/kernel/$(dirname "$module")/"
    done
    depmod -b "$work/image" "$release"
    archive "$work/image" "$work/modules.cpio"
    mv "$work/modules.cpio" "$CACHE/$package/"
    rm -rf "$work"
}

# Makes CACHE/userland.cpio.
pack_userland() { # BUILD
    local root=$CACHE/userland tool libraries
    rm -rf "$root"
    mkdir -p "$root"/{bin,sbin,dev,proc,sys,run,tmp,tests}
    for tool in "${TOOLS[@]}"; do
        cp -L "$(type -P "$tool")" "$root/bin/$tool"
    done
    mv "$root/bin/modprobe" "$root/sbin/"  # where the kernel looks for it
    cp "$1/kernel_tests" "$root/tests/"
    cp tests/kernels/init "$root/init"
    mapfile -t libraries < <(ldd "$root"/{bin,sbin,tests}/* | grep -oP '^\t(.* => )?\K/\S+' | sort -u)
    cp -L --parents "${libraries[@]}" "$root"
    archive "$root" "$CACHE/userland.cpio"
    rm -rf "$root"
}

declare -A machines=()  # package -> process

# Without norandmaps tcg would translate libc anew for every process.
boot() { # PACKAGE [GTEST OPTION]...
    local package=$1 directory=$CACHE/$1
    shift
    cat "$directory/modules.cpio" "$CACHE/userland.cpio" >"$directory/initramfs.cpio"
    : >"$directory/tests.log"
    timeout --foreground "$TIME_LIMIT_S" qemu-system-x86_64 -accel tcg -smp 2 -m 1024 -nodefaults -no-reboot \
        -display none -serial "file:$directory/tests.log" \
        -kernel "$directory/vmlinuz" -initrd "$directory/initramfs.cpio" \
        -append "console=ttyS0 quiet panic=-1 norandmaps -- $*" </dev/null &
    machines[$package]=$!
}

judge() { # PACKAGE
    local log=$CACHE/$1/tests.log status=0
    wait "${machines[$1]}" || status=$?
    echo "== kernel tests on $1"
    sed -i 's/\r$//' "$log"
    cat "$log"
    # In a subshell, so that the other kernels are still judged.
    (
        [[ $status -ne 124 ]] || fail "$1: not done after $TIME_LIMIT_S s"
        grep -q "^kernel_tests on ${1#linux-image-}: exit code 0$" "$log" || fail "$1: the tests failed"
        grep -q '^\[  PASSED  \] [1-9]' "$log" || fail "$1: no test ran"
        ! grep -q '^\[  SKIPPED \]' "$log" || fail "$1: tests were skipped"
    )
}

[[ $# -ge 1 ]] || fail "usage: tests/kernels/run.sh BUILD [GTEST OPTION]..."
[[ -x $1/kernel_tests ]] || fail "no kernel_tests in $1"
mkdir -p "$CACHE"
pack_userland "$1"
shift
trap 'kill "${machines[@]}" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM HUP
packages=()
for series in "${SERIES[@]}"; do
    package=$(kernel_package "$series")
    [[ -n $package ]] || fail "apt knows no linux-image-$series.*-cloud-amd64"
    packages+=("$package")
    unpack_kernel "$package"
done
for package in "${packages[@]}"; do
    boot "$package" "$@"
done
failed=0
for package in "${packages[@]}"; do
    judge "$package" || failed=1
done
exit "$failed"
