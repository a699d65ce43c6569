# Adds to guest.sh (source that first): an initramfs with programs that test a processor from inside a guest, unmodified from Debian:
# stress-ng and openssl with the libraries they need, and a 32-bit busybox. ./test uses it.

selftest_packages=(stress-ng openssl)

# Everything the packages depend on, themselves included.
selftest_closure() {
    apt-cache "${apt_options[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
        "${selftest_packages[@]}" 2>/dev/null | grep -E '^[a-z0-9]' | sed 's/:.*//' | sort -u
}

# obtain_foreign_busybox: prints the path of a static i386 busybox. The machine's package lists rarely have that architecture.
obtain_foreign_busybox() {
    local home=$guest_cache/busybox-i386
    if [ ! -s "$home" ]; then
        guest_workspace || return 1
        local state=$guest_cache/apt-i386
        mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
        local options=(-o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache" -o "Dir::State::Status=/dev/null"
            -o "APT::Architecture=i386" -o "APT::Architectures::=i386" -o "APT::Sandbox::User=$(id -un)")
        local deb
        deb=$(compgen -G "$guest_cache/downloads/busybox-static_*_i386.deb" | sort -V | tail -n 1)
        if [ -z "$deb" ]; then
            say "fetching Debian's i386 package lists into $state"
            apt-get "${options[@]}" -q=1 update >"$state/log" 2>&1
            mkdir -p "$guest_work/i386" "$guest_cache/downloads" || return 1
            (cd "$guest_work/i386" && apt-get -q=1 "${options[@]}" download busybox-static >&2) || return 1
            mv "$guest_work"/i386/*.deb "$guest_cache/downloads/" || return 1
            deb=$(compgen -G "$guest_cache/downloads/busybox-static_*_i386.deb" | sort -V | tail -n 1)
        fi
        unpack "$deb" './bin/busybox' "$guest_work/unpacked32" || { rm -f "$deb"; return 1; }
        mv "$guest_work/unpacked32/bin/busybox" "$home" || return 1
    fi
    echo "$home"
}

# obtain_selftest_initramfs: prints the path of the archive: the demo's, with the programs and their libraries besides.
obtain_selftest_initramfs() {
    local out=$guest_cache/selftest.gz busybox foreign package packages root file
    if [ -s "$out" ] && [ ! "$guest_root/scripts/guest-init" -nt "$out" ] && [ ! "$guest_root/scripts/selftest-guest.sh" -nt "$out" ]; then
        echo "$out"
        return 0
    fi
    busybox=$(obtain_busybox) && foreign=$(obtain_foreign_busybox) || return 1
    packages=$(selftest_closure)
    if [ "$(wc -w <<<"$packages")" -lt 10 ]; then
        use_private_apt
        packages=$(selftest_closure)
    fi
    [ "$(wc -w <<<"$packages")" -ge 10 ] || { complain "Debian's package lists have no ${selftest_packages[*]}"; return 1; }
    guest_workspace || return 1
    root=$guest_work/selftest
    rm -rf "$root" && mkdir -p "$root" || return 1
    for package in $packages; do
        unpack_selftest "$package" "$root" || { complain "cannot get $package for the self-test guest"; return 1; }
    done
    make_selftest_initramfs "$busybox" "$foreign" "$root" "$out" || return 1
    echo "$out"
}

# unpack_selftest PACKAGE INTO: the programs and libraries of a package, without what only a desktop reads.
unpack_selftest() {
    local deb
    deb=$(obtain_deb "$1") || return 1
    (set -o pipefail; dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$2" --exclude='./usr/share/*' --exclude='*/gconv/*' --exclude='*/locale/*')
}

make_selftest_initramfs() {
    local busybox=$1 foreign=$2 root=$3 out=$4 folder
    newc_inode=0
    {
        for folder in bin dev proc sys tmp root run; do newc_folder $folder; done
        newc_device dev/console 600 5 1
        newc_device dev/null 666 1 3
        newc_file bin/busybox 755 "$busybox"
        newc_file bin/busybox32 755 "$foreign"
        newc_link bin/sh busybox
        newc_file init 755 "$guest_root/scripts/guest-init"
        newc_tree "$root"
        newc_end
    } | gzip -1n >"$guest_work/selftest.gz" || return 1
    mv "$guest_work/selftest.gz" "$out"
}
