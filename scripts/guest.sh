# Functions that get a Debian kernel and busybox, and make an initramfs, without root and without installing anything.
# Sourced by ./demo, ./test and bench/run (bash). Everything lands under $RINGFENCE_CACHE (default: .cache beside ./demo):
#   downloads/          packages as Debian ships them
#   kernels/NAME/       vmlinuz, and the package it came from in "package"
#   busybox             the static busybox
#   initramfs.gz        see make_initramfs
# A file is moved to its place only once it is whole, so that an interrupted run leaves nothing that passes for finished.

guest_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
guest_cache=${RINGFENCE_CACHE:-$guest_root/.cache}
# A folder of this run's own on the cache's file system; "$$" is the script's id in subshells too.
guest_work=$guest_cache/work.$$

say() { printf '%s\n' "==> $*" >&2; }
complain() { printf '%s\n' "$*" >&2; }

guest_workspace() { mkdir -p "$guest_work"; }
guest_cleanup() { rm -rf "$guest_work"; }
# Removes the folder when the script ends, however it ends. Call once in the script that sources this file.
guest_clean_on_exit() {
    trap guest_cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
}

# ---- packages -------------------------------------------------------------------------------------------------------------

# Options that give apt a state of its own: for a machine with empty or stale lists, and for people who may not update them.
private_apt_options() {
    local state=$guest_cache/apt
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    apt_options=(-o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache" -o "Dir::State::Status=/dev/null"
        -o "APT::Architecture=amd64" -o "APT::Architectures::=amd64" -o "APT::Sandbox::User=$(id -un)")
}

apt_options=(-o APT::Sandbox::User="$(id -un 2>/dev/null || echo root)")
apt_state=system

# Turns to the private state and fetches its lists, once a run. False when that has been done already.
use_private_apt() {
    [ $apt_state = system ] || return 1
    apt_state=private
    private_apt_options
    if [ ! -e "$guest_work/lists-are-new" ]; then
        say "fetching Debian's package lists into $guest_cache/apt"
        # Some of the machine's sources may be out of reach: what counts is whether the package is found afterwards.
        apt-get "${apt_options[@]}" -q=1 update >"$guest_cache/apt/log" 2>&1
        touch "$guest_work/lists-are-new"
    fi
}

# resolve_kernel META: the package that a kernel metapackage depends on; META itself when it is a kernel already.
resolve_kernel() {
    local target
    target=$(apt-cache "${apt_options[@]}" show --no-all-versions "$1" 2>/dev/null |
        sed -n 's/^Depends:.*\(linux-image-[0-9][^ ,]*\).*/\1/p' | head -n 1)
    if [ -n "$target" ]; then
        echo "$target"
    elif [[ $1 == linux-image-[0-9]* ]] && [ -n "$(apt-cache "${apt_options[@]}" show "$1" 2>/dev/null)" ]; then
        echo "$1"
    else
        return 1
    fi
}

# download PACKAGE: into downloads/, whole or not at all (apt checks size and SHA-256 against the signed lists).
download() {
    local into=$guest_work/download
    rm -rf "$into" && mkdir -p "$into" "$guest_cache/downloads" || return 1
    say "downloading $1"
    local progress=(-q=1)
    [ -t 2 ] && progress=()
    (cd "$into" && apt-get "${progress[@]}" "${apt_options[@]}" download "$1" >&2) || return 1
    mv "$into"/*.deb "$guest_cache/downloads/"
}

# cached_deb NAME: the newest downloaded package for a kernel metapackage or a plain package.
cached_deb() {
    local name=$1 deb found=
    local patterns=("$name"_*.deb)
    [[ $name == linux-image-* && $name != linux-image-[0-9]* ]] && patterns=("linux-image-[0-9]*-${name#linux-image-}"_*.deb)
    while IFS= read -r deb; do
        # "amd64" alone must not match "cloud-amd64" or "rt-amd64".
        [[ $name == linux-image-amd64 && $deb == *-@(cloud|rt)-amd64_* ]] || found=$deb
    done < <(compgen -G "$guest_cache/downloads/${patterns[0]}" | sort -V)
    [ -n "$found" ] && echo "$found"
}

# obtain_deb NAME: prints the path of a package, downloading it when it is not there.
obtain_deb() {
    local name=$1 deb package
    deb=$(cached_deb "$name") && { echo "$deb"; return 0; }
    if ! command -v apt-get >/dev/null; then
        return 1
    fi
    while :; do
        package=$name
        if [[ $name == linux-image-* ]]; then
            package=$(resolve_kernel "$name") || package=
        fi
        if [ -n "$package" ] && download "$package"; then
            cached_deb "$name" && return 0
            cached_deb "$package" && return 0
        fi
        use_private_apt || return 1
    done
}

# unpack DEB PATTERN INTO: extracts the members that match and reads the whole package, so that a damaged one is noticed.
unpack() {
    mkdir -p "$3" || return 1
    (set -o pipefail; dpkg-deb --fsys-tarfile "$1" 2>/dev/null | tar -x -C "$3" --wildcards "$2" 2>/dev/null)
}

# ---- kernel and busybox ---------------------------------------------------------------------------------------------------

say_what_to_put() {
    complain "cannot get $1: no usable package cache and no network (or no apt)."
    complain "Put $2 from a Debian mirror into"
    complain "  $guest_cache/downloads/"
    complain "and run this again."
}

# unpack_cached NAME PATTERN INTO: obtains and unpacks; a package that does not unpack is thrown away and fetched once more.
unpack_cached() {
    local deb attempt
    for attempt in 1 2; do
        rm -rf "$3"
        deb=$(obtain_deb "$1") || return 1
        if unpack "$deb" "$2" "$3"; then
            basename "$deb"
            return 0
        fi
        complain "$(basename "$deb") is damaged (try $attempt): fetching it again"
        rm -f "$deb"
    done
    return 1
}

# obtain_kernel [NAME]: prints the path of the kernel of a Debian package (default: the cloud kernel).
obtain_kernel() {
    local name=${1:-linux-image-cloud-amd64}
    local home=$guest_cache/kernels/$name
    if [ ! -s "$home/vmlinuz" ]; then
        guest_workspace || return 1
        local new=$guest_work/kernel package
        if ! package=$(unpack_cached "$name" './boot/vmlinuz-*' "$guest_work/unpacked"); then
            say_what_to_put "the kernel" "linux-image-<version>-${name#linux-image-}_<version>_amd64.deb"
            return 1
        fi
        rm -rf "$new" && mkdir -p "$new" "$guest_cache/kernels" || return 1
        mv "$guest_work"/unpacked/boot/vmlinuz-* "$new/vmlinuz" || return 1
        echo "$package" >"$new/package"
        rm -rf "$home" && mv "$new" "$home" || return 1
        say "kernel: $package"
    fi
    echo "$home/vmlinuz"
}

# obtain_busybox: prints the path of a static x86-64 busybox; one that the machine has already is taken when Debian's cannot be had.
obtain_busybox() {
    local home=$guest_cache/busybox
    if [ ! -s "$home" ]; then
        guest_workspace || return 1
        if unpack_cached busybox-static './bin/busybox' "$guest_work/unpacked" >/dev/null; then
            mv "$guest_work/unpacked/bin/busybox" "$home" || return 1
        elif dpkg -s busybox-static >/dev/null 2>&1 && [ "$(dpkg --print-architecture)" = amd64 ]; then
            cp /bin/busybox "$guest_work/busybox" && mv "$guest_work/busybox" "$home" || return 1
        else
            say_what_to_put "busybox" "busybox-static_<version>_amd64.deb"
            return 1
        fi
    fi
    echo "$home"
}

# ---- initramfs ------------------------------------------------------------------------------------------------------------

# The newc format (Documentation/driver-api/early-userspace/buffer-format.rst) is ASCII headers and padding, so an archive with
# a device node in it needs neither root nor cpio.
newc_inode=0

# newc_header NAME MODE SIZE [MAJOR MINOR]
newc_header() {
    newc_inode=$((newc_inode + 1))
    printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\0' \
        $newc_inode $((8#$2)) 0 0 1 0 "$3" 0 0 "${4:-0}" "${5:-0}" $((${#1} + 1)) 0 "$1"
    newc_pad $((110 + ${#1} + 1))
}
newc_pad() { head -c $(((4 - $1 % 4) % 4)) /dev/zero; }
newc_folder() { newc_header "$1" 040755 0; }
newc_device() { newc_header "$1" "020$2" 0 "$3" "$4"; }
newc_link() { newc_header "$1" 120777 ${#2}; printf '%s' "$2"; newc_pad ${#2}; }
newc_file() {
    local size
    size=$(stat -Lc %s "$3")
    newc_header "$1" "100$2" "$size"
    cat "$3"
    newc_pad "$size"
}
# newc_tree FOLDER: everything under it, executable; what is not a file, folder or link is left out. "bin" is there already.
newc_tree() {
    local kind path
    (cd "$1" && find . -mindepth 1 -printf '%y %P\n' | sort -k2) | while read -r kind path; do
        case $kind in
            d) [ "$path" = bin ] || newc_folder "$path" ;;
            l) newc_link "$path" "$(readlink "$1/$path")" ;;
            f) newc_file "$path" 755 "$1/$path" ;;
        esac
    done
}
newc_end() { newc_header 'TRAILER!!!' 0 0; }

# make_initramfs BUSYBOX INIT OUT [FILE...]: gzipped newc archive of busybox, /init and, under /bench, the files named.
make_initramfs() {
    local busybox=$1 init=$2 out=$3 folder file
    shift 3
    guest_workspace || return 1
    newc_inode=0
    {
        for folder in bin dev proc sys tmp root run etc bench; do newc_folder $folder; done
        newc_device dev/console 600 5 1
        newc_device dev/null 666 1 3
        newc_file bin/busybox 755 "$busybox"
        newc_link bin/sh busybox
        newc_file init 755 "$init"
        for file in "$@"; do newc_file "bench/$(basename "$file")" 755 "$file"; done
        newc_end
    } | gzip -1n >"$guest_work/initramfs.gz" || return 1
    mv "$guest_work/initramfs.gz" "$out"
}

# obtain_initramfs: prints the path of the demo's initramfs, made anew when what it is made of is newer.
obtain_initramfs() {
    local out=$guest_cache/initramfs.gz init=$guest_root/scripts/guest-init busybox
    busybox=$(obtain_busybox) || return 1
    if [ ! -s "$out" ] || [ "$init" -nt "$out" ] || [ "$busybox" -nt "$out" ] || [ "$guest_root/scripts/guest.sh" -nt "$out" ]; then
        make_initramfs "$busybox" "$init" "$out" || return 1
    fi
    echo "$out"
}

# ---- the program ----------------------------------------------------------------------------------------------------------

# publish_ringfence OUT OPTION...: with what the build says on standard output.
publish_ringfence() {
    local out=$1
    shift
    (cd "$guest_root" && dotnet publish src/Ringfence.Cli -c Release -o "$out" -v q -nologo "$@" 2>&1)
}

# native_options: how the command becomes one file of native code; false where nothing can link it. Code that is compiled ahead has to know which
# instructions it may use: those of the last ten years, if this machine has them.
native_options() {
    local linker flags flag
    linker=$(command -v clang || command -v gcc) || return 1
    echo "-p:PublishAot=true -p:CppCompilerAndLinker=$linker"
    flags=" $(sed -n 's/^flags[^:]*: *//p' /proc/cpuinfo | head -n 1) "
    for flag in avx2 bmi1 bmi2 f16c fma abm movbe; do
        [[ $flags == *" $flag "* ]] || return 0
    done
    echo "-p:IlcInstructionSet=x86-64-v3"
}

# build_ringfence: publishes the command to artifacts/ringfence (incremental) and prints its path. Without a C compiler, which links native code,
# it needs the .NET runtime.
build_ringfence() {
    local out=$guest_root/artifacts/ringfence log native
    export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1 DOTNET_GENERATE_ASPNET_CERTIFICATE=false
    if ! command -v dotnet >/dev/null; then
        complain "the .NET 10 SDK is needed to build Ringfence: 'dotnet' is not on the path (https://dotnet.microsoft.com/download)"
        return 1
    fi
    guest_workspace || return 1
    log=$guest_work/build.log
    say "building ringfence (the first time takes a minute)"
    # Options, none of which has blanks.
    if ! { native=$(native_options) && publish_ringfence "$out" $native >"$log"; }; then
        complain "(not as one file of native code: $([ -z "$native" ] && echo "there is no clang or gcc to link it" || grep -m 1 -o 'error.*' "$log" | sed 's/ \[.*//'))"
        if ! publish_ringfence "$out" >"$log"; then
            cat "$log" >&2
            complain "the build failed"
            return 1
        fi
    fi
    echo "$out/ringfence"
}
