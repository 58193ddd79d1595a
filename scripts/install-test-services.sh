#!/bin/sh
# Install Debian 12 packages for tests that start real programs: PostgreSQL 15 with PostGIS
# (tests/catalog/test_stac_api.py), Prometheus with promtool (tests/telemetry/test_prometheus.py), and Chromium with its
# driver and a font (tests/view/test_browser.py). Do nothing if all are installed. Root (or sudo) is needed only if a
# package is missing.
set -eu

have() {
    [ -x /usr/lib/postgresql/15/bin/initdb ] && [ -e /usr/share/postgresql/15/extension/postgis.control ] &&
        command -v prometheus >/dev/null && command -v promtool >/dev/null &&
        command -v chromium >/dev/null && command -v chromedriver >/dev/null &&
        [ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ]
}

if have; then
    echo "PostgreSQL 15 with PostGIS, Prometheus and Chromium are installed"
    exit 0
fi
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
# No recommended packages: they pull in a display server.
$as_root apt-get install -y -qq --no-install-recommends \
    postgresql-15 postgresql-15-postgis-3 prometheus chromium chromium-driver fonts-dejavu-core
have || { echo "PostgreSQL 15 with PostGIS, Prometheus or Chromium is still missing after apt-get install" >&2; exit 1; }
