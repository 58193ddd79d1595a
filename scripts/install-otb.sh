#!/usr/bin/env bash
# Orfeo ToolBox, a peer of benchmarks/bench_blend.py: Debian's package (0.5 GB). The benchmark skips it where it is not there.
set -euo pipefail
command -v otbcli_Mosaic > /dev/null && exit 0
[ "$(id -u)" = 0 ] || { echo "otb-bin needs root: run this with sudo"; exit 1; }
apt-get update -qq
apt-get install -qq -y --no-install-recommends otb-bin
