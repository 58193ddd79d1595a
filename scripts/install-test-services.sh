#!/bin/sh
# Installs what tests/test_stac_api.py starts a real STAC API on: PostgreSQL 15 with PostGIS, of Debian 12.
# Does nothing where both are there. Needs root (or sudo) only when something is missing.
set -eu

have() {
    [ -x /usr/lib/postgresql/15/bin/initdb ] && [ -e /usr/share/postgresql/15/extension/postgis.control ]
}

if have; then
    echo "PostgreSQL 15 with PostGIS is there"
    exit 0
fi
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# No recommended packages: they pull in a display server.
$as_root apt-get install -y -qq --no-install-recommends postgresql-15 postgresql-15-postgis-3
have || { echo "PostgreSQL 15 with PostGIS is still missing after apt-get install" >&2; exit 1; }
