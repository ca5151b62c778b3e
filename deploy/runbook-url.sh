#!/bin/sh
# Copies rules, alerts and dashboards, and sets the address with which their runbook links begin.
#
#   sh deploy/runbook-url.sh https://git.example.org/cxstream/docs/runbooks deploy/prometheus /etc/prometheus/rules
#
# An alert has the link in the annotation runbook_url, a dashboard in the variable "Runbooks at". `make rules` and
# Docker Compose run this script; it needs a POSIX shell and sed, BusyBox's will do.
set -eu

if [ $# -ne 3 ]; then
  echo "usage: runbook-url.sh ADDRESS FROM TO" >&2
  exit 2
fi
address=$1 from=$2 to=$3

while [ "$address" != "${address%/}" ]; do address=${address%/}; done
case $address in
  *[!A-Za-z0-9._~:/@\&+,=%-]*) valid=no ;;
  http://?* | https://?*) valid=yes ;;
  *) valid=no ;;
esac
if [ $valid = no ]; then
  echo "runbook-url.sh: '$1' is not the address of a folder of runbooks: give one such as" \
    "https://git.example.org/cxstream/docs/runbooks, without a query or a fragment" >&2
  exit 2
fi
# In a replacement of sed, & stands for the match.
address=$(printf '%s' "$address" | sed 's/&/\\&/g')

mkdir -p "$to"
for file in "$from"/*.rules.yml "$from"/*.alerts.yml "$from"/*.json; do
  [ -f "$file" ] || continue
  sed -e "s|{{ \\\$externalURL }}/consoles|$address|" -e "s|\"query\": \"docs/runbooks\"|\"query\": \"$address\"|" \
    "$file" >"$to/${file##*/}"
done
