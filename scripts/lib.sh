# Shell functions that the scripts share; sourced, not run.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

logs=build/logs
mkdir -p "$logs"
current_step=

# say WORDS...: a line of progress, after the seconds since the script began.
say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

# Shows a command's output as one line that changes on a terminal, elsewhere as a line now and then.
show_progress() {
  local line columns last=$SECONDS
  columns=$(tput cols 2>/dev/null || echo 80)
  while IFS= read -r line; do
    if [[ -t 1 ]]; then
      printf '\r\033[K%s' "${line:0:columns - 1}"
    elif ((SECONDS - last >= 30)); then
      printf '         %s\n' "$line"
      last=$SECONDS
    fi
  done
  if [[ -t 1 ]]; then printf '\r\033[K'; fi
}

# step NAME COMMAND...: runs a command with its output in build/logs. A failure ends the script, after
# the end of that output.
step() {
  local name=$1 log=$logs/${1//[^[:alnum:]+]/-}.log
  shift
  current_step=$name
  say "$name"
  if ! "$@" 2>&1 | tee "$log" | show_progress; then
    tail -n 30 "$log"
    say "$name failed; all of its output: $log"
    exit 1
  fi
  current_step=
}

# install_packages NAME...: installs the Debian packages that are missing.
install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "no Debian system: expecting that these are installed: $*"
    return
  fi
  local package missing=() sudo=()
  for package; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then sudo=(sudo); fi
  step 'list of Debian packages' "${sudo[@]}" apt-get update
  step "Debian packages: ${missing[*]}" "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "${missing[@]}"
}

# What every build needs.
build_packages=(cmake g++ libcli11-dev libeigen3-dev ninja-build nlohmann-json3-dev python3
  python3-venv zlib1g-dev)

# install_python FILE: a virtual environment in build/venv, with what a requirements file lists.
install_python() {
  local installed=build/venv/${1//\//-}
  # pip is the last thing that appears in a new environment.
  [[ -x build/venv/bin/pip ]] || step 'Python virtual environment' python3 -m venv build/venv
  if ! cmp --quiet "$1" "$installed"; then
    step "Python packages of $1" build/venv/bin/pip install --disable-pip-version-check -r "$1"
    cp "$1" "$installed"
  fi
}

# build PRESET [CONFIGURE OPTIONS...]: configures and builds.
build() {
  local preset=$1
  shift
  step "configure $preset" cmake --preset "$preset" "$@"
  step "build $preset" cmake --build --preset "$preset"
}
