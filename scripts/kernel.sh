# Sourced by the scripts that boot virtual machines: Debian's kernels, and the drivers out of them.

# unpack_kernel META TO LOG [-t SUITE]: unpacks the newest kernel that apt's package META stands
# for into TO, unless one is there. Nothing is installed. Returns 1 if there is none to be had.
unpack_kernel() {
    local meta="$1" to="$2" log="$3" package work
    shift 3
    # A newer kernel than the one unpacked is no reason to fetch again: any will do.
    [ ! -d "$to" ] || return 0
    package="$(kernel_package "$meta" "$@")"
    if [ -z "$package" ]; then
        as_root apt-get update >>"$log" 2>&1 || return 1
        package="$(kernel_package "$meta" "$@")"
        [ -n "$package" ] || return 1
    fi
    work="$(mktemp -d)"
    mkdir -p "$(dirname "$to")"
    rm -rf "$to.partial"
    # An index older than the archive names a package that is gone.
    if (cd "$work" && { apt-get "$@" download "$package" ||
        { as_root apt-get update && apt-get "$@" download "$package"; }; }) >>"$log" 2>&1 &&
        dpkg-deb -x "$work/$package"_*.deb "$to.partial"; then
        # Since Debian 13 the drivers are in usr/lib, but kmod looks in lib, which is a link to it on a real machine.
        [ -d "$to.partial/lib" ] || ln -s usr/lib "$to.partial/lib"
        mv "$to.partial" "$to"
    fi
    rm -rf "$work"
    [ -d "$to" ]
}

# Kernel packages are named after their ABI: the meta package tells which one is current.
kernel_package() {
    local meta="$1"
    shift
    apt-cache "$@" depends "$meta" 2>/dev/null | sed -nE 's/.*Depends: (linux-image-[0-9].*)/\1/p' | head -n 1
}

# copy_drivers TREE TO DRIVER…: copies drivers out of an unpacked kernel, with what they depend on,
# uncompressed, and lists them in TO/order as they are to be loaded.
copy_drivers() {
    local tree="$1" to="$2" version path name paths
    shift 2
    version="$(basename "$tree"/lib/modules/*)"
    mkdir -p "$to"
    /sbin/depmod -b "$tree" "$version"
    paths="$(for driver in "$@"; do
        /sbin/modprobe -d "$tree" -S "$version" --show-depends "$driver"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }')"
    [ -n "$paths" ] || die "no drivers found in $tree"
    while read -r path; do
        name="$(basename "$path" .xz)"
        case "$path" in
            *.xz) xz -dc "$path" >"$to/$name" ;;
            *) cp "$path" "$to/$name" ;;
        esac
        echo "$name"
    done <<<"$paths" >"$to/order"
}
