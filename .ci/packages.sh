#!/bin/sh
# Finds the system packages that a purpose needs, and installs the missing ones.
#
#   .ci/packages.sh [--check] build|test|run …
#
# It looks for the thing itself first (a header, a library, a program), so nothing is asked of the package manager, and
# nobody becomes root, where everything is already there. What cannot be installed is named, with the command to type.
# --check only looks. It deliberately knows nothing of Rust (see .ci/cargo) nor of Python (see tests/bench).
set -eu

check_only=false
purposes=''
for word in "$@"; do
    case $word in
        --check) check_only=true ;;
        build | test | run) purposes="$purposes $word" ;;
        *) echo "packages.sh: not a purpose: $word (build, test or run)" >&2; exit 2 ;;
    esac
done
[ -n "$purposes" ] || { echo 'usage: .ci/packages.sh [--check] build|test|run …' >&2; exit 2; }

# ---------------------------------------------------------------------------------------------- which system is this
family=unknown
if [ "$(uname -s)" = Darwin ]; then
    family=macos
elif [ -r /etc/os-release ]; then
    ids=$(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}")
    case " $ids " in
        *' debian '* | *' ubuntu '*) family=debian ;;
        *' fedora '* | *' rhel '*) family=fedora ;;
        *' arch '*) family=arch ;;
    esac
fi

# ------------------------------------------------------------------------------------------------------- looking
has_program() { command -v "$1" >/dev/null 2>&1; }

has_module() { pkg-config --exists "$1" 2>/dev/null; }

# First existing file of the arguments, which are globs.
has_file() {
    for candidate in "$@"; do
        [ -e "$candidate" ] && return 0
    done
    return 1
}

# A shared library that a program opens at run time.
has_library() {
    case $family in
        macos) has_file "/opt/homebrew/lib/$1"* "/usr/local/lib/$1"* ;;
        *)
            has_file "/usr/lib/$1"* /usr/lib/*/"$1"* "/usr/lib64/$1"* "/lib/$1"* /lib/*/"$1"* "/lib64/$1"* \
                "/usr/local/lib/$1"* "/run/current-system/sw/lib/$1"*
            ;;
    esac
}

# bindgen needs libclang and the compiler's own headers, which some distributions package apart.
has_libclang() {
    [ -z "${LIBCLANG_PATH:-}" ] || return 0
    if [ "$family" = macos ]; then
        has_file /Library/Developer/CommandLineTools/usr/lib/libclang.dylib /opt/homebrew/opt/llvm/lib/libclang.dylib \
            /Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib/libclang.dylib
        return
    fi
    has_file /usr/lib/libclang*.so* /usr/lib64/libclang*.so* /usr/lib/*/libclang*.so* /usr/lib/llvm*/lib/libclang*.so* \
        /usr/lib64/llvm*/lib/libclang*.so* /usr/local/lib/libclang*.so* &&
        has_file /usr/lib/clang/*/include/stddef.h /usr/lib64/clang/*/include/stddef.h \
            /usr/lib/llvm*/lib/clang/*/include/stddef.h /usr/local/lib/clang/*/include/stddef.h
}

# A Vulkan driver that needs no GPU.
has_lavapipe() {
    has_file /usr/share/vulkan/icd.d/lvp_icd*.json /usr/local/share/vulkan/icd.d/lvp_icd*.json /etc/vulkan/icd.d/lvp_icd*.json
}

has_vulkan() { has_library libvulkan.so.1; }

has_window() {
    { has_library libX11.so.6 && has_library libX11-xcb.so.1 && has_library libXcursor.so.1 && has_library libXi.so.6 &&
        has_library libXrandr.so.2 && has_library libxkbcommon-x11.so.0 && has_library libxkbcommon.so.0; } ||
        { has_library libwayland-client.so.0 && has_library libwayland-egl.so.1 && has_library libwayland-cursor.so.0 &&
            has_library libxkbcommon.so.0; }
}

# -------------------------------------------------------------------------------------- what a purpose asks for
# Each line of `needs`: the test, what it is in words, then the packages per family (debian | fedora | arch | macos).
# FFmpeg's libraries are asked for one by one, because distributions split them.
ffmpeg_needs() {
    for library in avcodec avformat avutil swscale swresample avfilter; do
        echo "has_module lib$library;FFmpeg's lib$library with its header files;lib$library-dev;ffmpeg-free-devel;ffmpeg;ffmpeg"
    done
}

needs() {
    case $1 in
        build)
            echo 'has_program cc;a C compiler;gcc libc6-dev;gcc;gcc;'
            echo 'has_program pkg-config;pkg-config;pkg-config;pkgconf-pkg-config;pkgconf;pkgconf'
            ffmpeg_needs
            echo 'has_libclang;libclang with its header files;libclang-dev;clang-devel;clang;llvm'
            [ "$family" = macos ] || echo "has_module alsa;ALSA's header files;libasound2-dev;alsa-lib-devel;alsa-lib;"
            ;;
        test)
            echo 'has_program ffmpeg;the ffmpeg program;ffmpeg;ffmpeg-free;ffmpeg;ffmpeg'
            [ "$family" = macos ] || {
                echo 'has_vulkan;the Vulkan loader;libvulkan1;vulkan-loader;vulkan-icd-loader;'
                echo "has_lavapipe;Mesa's software Vulkan driver (lavapipe);mesa-vulkan-drivers;mesa-vulkan-drivers;vulkan-swrast;"
            }
            ;;
        run)
            echo 'has_program ffmpeg;the ffmpeg program;ffmpeg;ffmpeg-free;ffmpeg;ffmpeg'
            [ "$family" = macos ] || {
                echo 'has_vulkan;the Vulkan loader;libvulkan1 mesa-vulkan-drivers;vulkan-loader mesa-vulkan-drivers;vulkan-icd-loader;'
                echo 'has_window;the libraries of a window (X11 or Wayland);libx11-6 libx11-xcb1 libxcb1 libxcursor1 libxi6 libxrandr2 libxkbcommon0 libxkbcommon-x11-0 libwayland-client0 libwayland-egl1 libwayland-cursor0 libegl1 libgl1-mesa-dri;libX11 libX11-xcb libxcb libXcursor libXi libXrandr libxkbcommon libxkbcommon-x11 libwayland-client libwayland-egl libwayland-cursor mesa-libEGL mesa-dri-drivers;libx11 libxcb libxcursor libxi libxrandr libxkbcommon libxkbcommon-x11 wayland mesa;'
            }
            ;;
    esac
}

column() {
    case $family in debian) echo 3 ;; fedora) echo 4 ;; arch) echo 5 ;; macos) echo 6 ;; *) echo 0 ;; esac
}

# Fills `missing` (words, one a line) and `packages` with what is not there.
look() {
    missing=''
    packages=''
    all=$(for purpose in $purposes; do needs "$purpose"; done)
    old_ifs=$IFS
    IFS='
'
    for line in $all; do
        IFS=$old_ifs
        if ! ${line%%;*}; then
            name=$(echo "$line" | cut -d ';' -f 2)
            case "$missing" in *"$name"*) ;; *) missing="$missing  - $name
" ;; esac
            [ "$(column)" = 0 ] || for package in $(echo "$line" | cut -d ';' -f "$(column)"); do
                case " $packages " in *" $package "*) ;; *) packages="$packages $package" ;; esac
            done
        fi
        IFS='
'
    done
    IFS=$old_ifs
}

give_up() {
    {
        echo "Modalens needs these, and they are not here:"
        printf '%s' "$missing"
        [ -z "$1" ] || echo "$1"
    } >&2
    exit 1
}

# ---------------------------------------------------------------------------------------------------- installing
look
[ -n "$missing" ] || exit 0

case $family in
    debian) install='apt-get install -y --no-install-recommends' ;;
    fedora) install='dnf install -y' ;;
    arch) install='pacman -S --needed --noconfirm' ;;
    macos) install='brew install' ;;
    *) give_up 'This system is not one whose packages are known (Debian, Ubuntu, Fedora, Arch, macOS): install them by hand.' ;;
esac
[ -n "$packages" ] || give_up 'On macOS the compiler comes with: xcode-select --install'
by_hand="Install them with:$( [ "$family" = macos ] || printf ' sudo') $install$packages"
$check_only && give_up "$by_hand"
has_program "${install%% *}" || give_up "The package manager (${install%% *}) was not found. $by_hand"

as_root=''
if [ "$family" != macos ] && [ "$(id -u)" != 0 ]; then
    has_program sudo || give_up "$by_hand (or as root; sudo was not found)"
    # Only a person at a terminal can type a password.
    if [ -t 0 ] && [ -z "${CI:-}" ]; then as_root=sudo; else as_root='sudo -n'; fi
    $as_root true 2>/dev/null || give_up "$by_hand (sudo refused)"
fi

echo "Installing:$packages" >&2
if [ "$family" = debian ]; then
    as_root="$as_root env DEBIAN_FRONTEND=noninteractive"
    # The lists may be absent (a fresh container) or too old for the archive.
    $as_root $install $packages </dev/null >&2 ||
        { $as_root apt-get update </dev/null >&2 && $as_root $install $packages </dev/null >&2; } ||
        give_up "The package manager failed (its words are above). $by_hand"
else
    $as_root $install $packages </dev/null >&2 || give_up "The package manager failed (its words are above). $by_hand"
fi

look
[ -z "$missing" ] || give_up "The packages are installed, yet these were not found:$packages"
