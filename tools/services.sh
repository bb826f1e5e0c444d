#!/bin/sh
# Start the databases that the tests use, where they are installed and not running (Debian's packages).
# With --install, as root, install them first. Tests skip a service that is not there, unless
# AMOCRM_TEST_REQUIRE_SERVICES=1.
set -u

listens() { "${PYTHON:-python3}" -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2).close()' "$1" 2>/dev/null; }
wait_for() { for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do listens "$1" && return 0; sleep 0.5; done; return 1; }
start() { # name, port, program, command
    listens "$2" && return 0
    if ! command -v "$3" >/dev/null 2>&1; then
        echo "$1 is not installed: its tests will be skipped"
        return 1
    fi
    sh -c "$4" >/dev/null 2>&1
    if wait_for "$2"; then echo "$1 started"; else echo "$1 did not start: its tests will be skipped"; return 1; fi
}

if [ "${1:-}" = --install ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    missing=
    command -v pg_ctlcluster >/dev/null 2>&1 || missing="$missing postgresql"
    command -v mariadbd >/dev/null 2>&1 || missing="$missing mariadb-server"
    command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086
        apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $missing
    fi
fi
start PostgreSQL 5432 pg_ctlcluster 'pg_ctlcluster --skip-systemctl-redirect $(ls /etc/postgresql | sort -n | tail -n 1) main start'
start MariaDB 3306 mariadbd 'mkdir -p /run/mysqld && chown mysql: /run/mysqld; start-stop-daemon --start --oknodo --background --exec /usr/sbin/mariadbd'
start Redis 6379 redis-server 'redis-server --daemonize yes --bind 127.0.0.1 --port 6379 --save "" --appendonly no'
exit 0
