#!/usr/bin/env bash
# Install Debian's package of Orfeo ToolBox (0.5 GB), a peer in benchmarks/bench_blend.py, which skips it if missing.
set -euo pipefail
command -v otbcli_Mosaic > /dev/null && exit 0
[ "$(id -u)" = 0 ] || { echo "Cannot install otb-bin without root: run this script with sudo."; exit 1; }
apt-get update -qq
apt-get install -qq -y --no-install-recommends otb-bin
