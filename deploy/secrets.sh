#!/bin/sh
# Make the secrets of compose.yaml, each random and in a file of its own. What is there already stays as it is.
set -eu
umask 077
cd "$(dirname "$0")/secrets"
random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
for name in treewalk_token treewalk_metrics treewalk_alertmanager grafana_password; do
    [ -s "$name" ] || random >"$name"
    # Containers read them as users of their own; this folder is closed to everybody else on this machine.
    chmod 444 "$name"
done
[ -s gatus.env ] || echo "TREEWALK_GATUS_TOKEN=$(random)" >gatus.env
chmod 700 .
echo "secrets are in $(pwd)"
