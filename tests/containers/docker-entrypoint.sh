#!/bin/sh
# What docker-compose.yml uses of the official images' own script of this name, for Debian's Redis and PostgreSQL.
set -eu

as() { # user command...
    user=$1
    shift
    exec setpriv --reuid="$user" --regid="$user" --init-groups "$@"
}

if [ "$1" = redis-server ]; then
    chown redis:redis .
    as redis "$@" --protected-mode no
fi

data=/var/lib/postgresql/data
programs=$(echo /usr/lib/postgresql/*/bin)
if [ ! -e "$data/PG_VERSION" ]; then
    install -d -o postgres -g postgres -m 0700 "$data"
    (as postgres "$programs/initdb" --pgdata "$data" --username "$POSTGRES_USER" \
        --pwfile "$POSTGRES_PASSWORD_FILE" --auth-host scram-sha-256 --auth-local trust --encoding UTF8 --locale C.UTF-8 >/dev/null)
    (as postgres "$programs/postgres" --single -D "$data" postgres >/dev/null <<SQL
CREATE DATABASE $POSTGRES_DB
SQL
    )
fi
install -d -o postgres -g postgres /run/postgresql
shift
as postgres "$programs/postgres" -D "$data" -c listen_addresses='*' "$@"
