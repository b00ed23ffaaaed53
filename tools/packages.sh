# Sourced by run_tests.sh: installs the system packages that the tests use, where that can be done: servers, cameras, faults.
# shellcheck shell=bash

TEST_PACKAGES=(
  ffmpeg openssl
  python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-rtsp-server-1.0 gstreamer1.0-rtsp glib-networking
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  nginx-light libnginx-mod-rtmp
  sip-tester
  prometheus
  strace faketime gcc libc6-dev
  python3-venv
)

# Installs what is missing if we are root and there is apt-get; INSTALL_PACKAGES=no leaves the system as it is. Says in
# one line what stays missing and which tests skip for it; never fails, because they do.
ensure_test_packages() {
  local missing why
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "${INSTALL_PACKAGES:-yes}" = no ]; then
    why="INSTALL_PACKAGES=no"
  elif ! command -v apt-get > /dev/null; then
    why="there is no apt-get here"
  elif [ "$(id -u)" -ne 0 ]; then
    why="only root can install them: apt-get install --no-install-recommends ${missing[*]}"
  else
    echo "Installing ${missing[*]} ..."
    why=$(install_packages "${missing[@]}") || why=${why:-apt-get failed}
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -eq 0 ] && return 0
  fi
  echo "note: not installed: ${missing[*]} (${why:-unknown}); skipped: $(skipped_tests "${missing[@]}")" >&2
}

missing_packages() {
  local installed package
  # shellcheck disable=SC2016  # dpkg-query's own variables
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${TEST_PACKAGES[@]}" 2> /dev/null || true)
  for package in "${TEST_PACKAGES[@]}"; do
    grep -qxF -- "$package installed" <<< "$installed" || echo "$package"
  done
}

# Prints why it failed, in one line. PACKAGES_ROOT stands before the paths that it writes to; tests set it.
install_packages() (
  policy=${PACKAGES_ROOT:-}/usr/sbin/policy-rc.d
  mark="# by run_tests.sh, only while it installs"
  lock=${PACKAGES_ROOT:-}/run/lock/stream-server-packages.lock
  if ! { exec 8> "$lock"; } 2> /dev/null; then
    echo "$lock cannot be written"
    exit 1
  fi
  flock 8 # two at once would take each other's policy away
  if [ -e "$policy" ] && grep -qxF -- "$mark" "$policy"; then
    rm -f -- "$policy" # of one that was killed
  fi
  if [ ! -e "$policy" ]; then
    trap 'rm -f -- "$policy"' EXIT
    if ! { printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$policy" && chmod 755 "$policy"; } 2> /dev/null; then
      echo "$policy cannot be written, and without it a service would be started"
      exit 1
    fi
  fi
  if ! said=$(apt_install "$@"); then
    # without lists, or with old ones, packages are not found
    if ! said=$(apt update 2>&1) || ! said=$(apt_install "$@"); then
      reason=$(grep '^E: ' <<< "$said" | tail -n 1)
      echo "apt-get failed: ${reason#E: }"
      exit 1
    fi
  fi
)

apt_install() {
  apt install --yes --no-install-recommends "$@" 2>&1
}

apt() {
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -q -o DPkg::Lock::Timeout=120 "$@" < /dev/null 8>&-
}

skipped_tests() {
  local package
  for package in "$@"; do
    case "$package" in
      ffmpeg) echo "all tests with real media servers" ;;
      *nginx*) echo "those of RTMP and HLS" ;;
      prometheus) echo "those of Prometheus" ;;
      sip-tester) echo "the SIP scenarios of GB28181" ;;
      strace | faketime | gcc | libc6-dev) echo "those of syncs, clocks and lost power" ;;
      python3-venv) echo "those of a Triton server" ;;
      openssl | glib-networking) echo "those of RTSPS" ;;
      *) echo "those of RTSP and RTSPS" ;;
    esac
  done | sort -u | paste -s -d , | sed 's/,/, /g'
}
