# What the walks have in common: a new user's first hour, on a bare Debian, as root. The binary is dist/fervo-worker of the
# checkout. Sourced.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export DEBIAN_FRONTEND=noninteractive

# fail TEXT
fail() {
  echo "$*" >&2
  exit 1
}

install_binary() { install -m 755 "$root/dist/fervo-worker" /usr/local/bin/fervo-worker; }

# read_commands: of a block of commands on standard input, without the prompt and the remarks, into `commands`
read_commands() { mapfile -t commands < <(sed -nE 's/^\$ //; T; s/  +#.*$//; p'); }

# walk COMMAND...: each as it stands
walk() {
  local command
  for command in "$@"; do
    echo "\$ $command"
    bash -c "$command"
    # Where systemd runs, it starts what was installed; here nobody does.
    if [[ $command == apt-get*supervisor* ]] && ! supervisorctl pid >/dev/null 2>&1; then
      supervisord --configuration /etc/supervisor/supervisord.conf
    fi
  done
}

# wait_for WHAT COMMAND...: until the command succeeds, for 30 s at most
wait_for() {
  local what=$1 tries
  shift
  for ((tries = 0; tries < 300; tries++)); do
    "$@" && return
    sleep 0.1
  done
  echo "In 30 s this has not come true: $what" >&2
  tail -n 20 /var/log/supervisor/*.log >&2
  exit 1
}
