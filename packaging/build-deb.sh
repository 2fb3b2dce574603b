#!/bin/bash
# Makes sluice_VERSION_ARCH.deb from a finished build.
set -euo pipefail
build=$(readlink -f "${1:?usage: packaging/build-deb.sh BUILD_DIRECTORY}")
cd "$(dirname "$(readlink -f "$0")")/.."
[[ -x $build/sluice ]] || { echo "build-deb: no $build/sluice; run ./dev build first" >&2; exit 1; }

version=$(sed -n 's/^project(sluice VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
architecture=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

install -D -m 755 "$build/sluice" "$root/usr/sbin/sluice"
strip --strip-unneeded "$root/usr/sbin/sluice"
install -D -m 644 packaging/sluice.service "$root/lib/systemd/system/sluice.service"
install -D -m 600 packaging/sluice.yaml "$root/etc/sluice/sluice.yaml"
install -D -m 644 packaging/sluice.bash-completion "$root/usr/share/bash-completion/completions/sluice"
install -D -m 644 packaging/sluice.schema.json "$root/usr/share/sluice/sluice.schema.json"
install -D -m 644 docs/policy.md "$root/usr/share/doc/sluice/docs/policy.md"
install -D -m 644 README.md "$root/usr/share/doc/sluice/README.md"
install -D -m 644 docs/configuration.md "$root/usr/share/doc/sluice/docs/configuration.md"
install -D -m 644 LICENSE "$root/usr/share/doc/sluice/copyright"
install -d "$root/usr/share/man/man8"
gzip -9n <packaging/sluice.8 >"$root/usr/share/man/man8/sluice.8.gz"

# dpkg-shlibdeps wants to find a source package's control file where it runs.
mkdir "$work/debian"
printf 'Source: sluice\n\nPackage: sluice\nArchitecture: any\n' >"$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O root/usr/sbin/sluice 2>/dev/null | sed -n 's/^shlibs:Depends=//p')

install -d "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: sluice
Version: $version
Architecture: $architecture
Maintainer: sluice developers <root@localhost>
Depends: $libraries
Recommends: iproute2, nftables, publicsuffix, tzdata
Section: net
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Description: transparent TCP gateway that decides by server name
 Sluice sits between a network's clients and the internet. It looks at the first
 bytes of each TCP connection, decides by the TLS server name, addresses, port
 and protocol whether it may pass, and then lets the kernel carry the rest.
CONTROL
echo /etc/sluice/sluice.yaml >"$root/DEBIAN/conffiles"
install -m 755 packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm "$root/DEBIAN/"

package=$build/sluice_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
echo "$package"
