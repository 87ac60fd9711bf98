# shellcheck shell=bash
# What the scripts in ops/ share: system packages, a private PostgreSQL and Redis, the Python environment, builds.
# Sourced with `set -euo pipefail` on; every function either does what its comment says or ends the script by `die`.

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Where a server listens unless told otherwise. Loopback only: none of this is meant to be reached from outside.
LOOPBACK=127.0.0.1

say() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# ---- System packages -------------------------------------------------------------------------------------------

# Prints those of the packages that this machine lacks; with `tests` those too that only the tests need. A thing that
# is there by other means than dpkg counts.
missing_packages() {
    [ -e /usr/include/postgresql/libpq-fe.h ] || pkg-config --exists libpq 2>/dev/null || echo libpq-dev
    [ -e /usr/include/hiredis/hiredis.h ] || echo libhiredis-dev
    [ -e /usr/include/openssl/evp.h ] || pkg-config --exists openssl 2>/dev/null || echo libssl-dev
    command -v pkg-config >/dev/null || echo pkg-config
    postgres_programs >/dev/null || echo postgresql
    command -v redis-server >/dev/null || echo redis-server
    command -v setpriv >/dev/null || echo util-linux
    command -v flock >/dev/null || echo util-linux
    command -v openssl >/dev/null || echo openssl
    find_python >/dev/null || printf '%s\n' python3 python3-venv
    [ "${1:-}" = tests ] || return 0
    # Apache as a client and as a resource server. Only its program and modules are used, never its system service.
    apache_program >/dev/null || echo apache2-bin
    [ -e "$(apache_modules)/mod_auth_openidc.so" ] || echo libapache2-mod-auth-openidc
    [ -e "$(apache_modules)/mod_oauth2.so" ] || echo libapache2-mod-oauth2
    chromium_program >/dev/null || echo chromium
}

# Prints Apache's program, and the folder of its modules.
apache_program() { command -v apache2 || command -v /usr/sbin/apache2; }
apache_modules() { echo /usr/lib/apache2/modules; }

# Prints a Chromium, or Google's own make of it.
chromium_program() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

# Installs what is missing by apt-get, as root or through sudo; elsewhere says what to install and ends. Arguments are
# those of missing_packages.
install_packages() {
    local missing as_root=()
    mapfile -t missing < <(missing_packages "$@" | sort -u)
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get >/dev/null \
        || die "please install (Debian's names): ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "please run as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing ${missing[*]}"
    local log
    log=$(mktemp)
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get -o DPkg::Lock::Timeout=300 -qq update >"$log" 2>&1 </dev/null \
        || ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get -o DPkg::Lock::Timeout=300 -qq install -y --no-install-recommends "${missing[@]}" \
            >>"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        die "apt-get could not install ${missing[*]}; its whole output is in $log"
    fi
    rm -f "$log"
    mapfile -t missing < <(missing_packages "$@" | sort -u)
    [ "${#missing[@]}" -eq 0 ] || die "still missing after apt-get: ${missing[*]}"
}

# ---- Ports -----------------------------------------------------------------------------------------------------

# Prints $1 (default 1) different ports of the loopback interface that nothing listens on now. They are below those that
# the system gives to outgoing connections; of tests that run in parts (GATEHOUSE_TEST_PART) each has ports of its own.
free_ports() {
    "$(find_python)" - "${1:-1}" <<'PYTHON'
import os, random, socket, sys
part, _, parts = os.environ.get("GATEHOUSE_TEST_PART", "1/1").partition("/")
width = 12_000 // int(parts)
first = 20_000 + width * (int(part) - 1)
held = []
for port in random.sample(range(first, first + width), width):
    one = socket.socket()
    try:
        one.bind(("127.0.0.1", port))
    except OSError:
        continue
    held.append(one)
    if len(held) == int(sys.argv[1]):
        break
print(*(one.getsockname()[1] for one in held))
PYTHON
}

# Succeeds when something accepts connections on port $1 of the loopback interface.
port_answers() { (exec 3<>"/dev/tcp/$LOOPBACK/$1") 2>/dev/null; }

# ---- PostgreSQL ------------------------------------------------------------------------------------------------

# Descriptors 8 and 9 are locks of the scripts here; servers are started without them, or they would keep the locks.


# Prints the folder of the newest PostgreSQL server programs here.
postgres_programs() {
    local initdb
    initdb=$(find /usr/lib/postgresql/*/bin /usr/pgsql-*/bin -name initdb 2>/dev/null | sort -V | tail -n 1)
    [ -n "$initdb" ] || initdb=$(command -v initdb) || return 1
    dirname "$initdb"
}

# Runs a command as the user who owns the database files: PostgreSQL refuses root, so root becomes `postgres`.
as_postgres() (
    cd /
    if [ "$(id -u)" -eq 0 ]; then
        exec setpriv --reuid postgres --regid postgres --clear-groups "$@"
    fi
    exec "$@"
)

# Prints the data folder that belongs to folder $1, following the link that postgres_start may have left.
postgres_data() { readlink -f "$1/postgres"; }

# postgres_start FOLDER PORT [LIBRARY]: starts PostgreSQL with its data in FOLDER/postgres and waits until it answers.
# LIBRARY is one of PostgreSQL's own to load with it.
#
# Made on first use with a random superuser password in FOLDER/postgres.password. When the server's user cannot
# reach FOLDER (a clone under /root, say), the data lies in /var/tmp and FOLDER/postgres is a link to it.
postgres_start() {
    local folder=$1 port=$2 library=${3:-} programs data version log password
    programs=$(postgres_programs) || die "PostgreSQL's server programs are missing"
    if [ "$(id -u)" -eq 0 ]; then
        id postgres >/dev/null 2>&1 || die "there is no user 'postgres' to run PostgreSQL as"
    fi
    if [ ! -e "$folder/postgres" ]; then
        rm -f "$folder/postgres" "$folder/postgres.password"
        mkdir -p "$folder/postgres"
        if [ "$(id -u)" -eq 0 ]; then
            chown postgres: "$folder/postgres"
            if ! as_postgres test -w "$(readlink -f "$folder/postgres")"; then
                rmdir "$folder/postgres"
                data=$(as_postgres mktemp -d /var/tmp/gatehouse-postgres.XXXXXX)
                ln -s "$data" "$folder/postgres"
            fi
        fi
    fi
    data=$(postgres_data "$folder")
    chmod 700 "$data"
    log=$data/server.log
    if [ ! -e "$data/PG_VERSION" ]; then
        (umask 077 && openssl rand -hex 16 >"$folder/postgres.password")
        password=$(as_postgres mktemp)   # readable by the server's user alone, gone when initdb has read it
        as_postgres sh -c 'cat >"$1"' sh "$password" <"$folder/postgres.password"
        if ! as_postgres "$programs/initdb" -D "$data" -U postgres -E UTF8 --locale C.UTF-8 -A scram-sha-256 \
                --pwfile="$password" >"$folder/initdb.log" 2>&1; then
            rm -f "$password"
            cat "$folder/initdb.log" >&2
            die "initdb failed"
        fi
        rm -f "$password"
    fi
    version=$("$programs/postgres" --version | sed -E 's/.* ([0-9]+).*/\1/')
    [ "$(cat "$data/PG_VERSION")" = "$version" ] \
        || die "$folder/postgres was made by PostgreSQL $(cat "$data/PG_VERSION"), here is $version: start with --fresh"
    # A server left by a killed script would hold the folder; a stale lock file is pg_ctl's to judge.
    if as_postgres "$programs/pg_ctl" -D "$data" status >/dev/null 2>&1; then postgres_stop "$folder"; fi
    # Durability is PostgreSQL's default and stays so: what a test or a demo acknowledges has to survive a kill.
    as_postgres "$programs/pg_ctl" -D "$data" -w -t 60 -l "$log" -o "-p $port -c listen_addresses=$LOOPBACK \
        -c unix_socket_directories='' -c shared_preload_libraries=$library -c max_connections=300 -c log_min_messages=warning" \
        start >/dev/null 2>&1 8>&- 9>&- </dev/null \
        || { as_postgres tail -n 20 "$log" >&2; die "PostgreSQL did not start on port $port"; }
}

# Stops the PostgreSQL of a folder, if it runs. $2: fast (default) or immediate.
postgres_stop() {
    local folder=$1 data
    [ -e "$folder/postgres" ] || return 0
    data=$(postgres_data "$folder")
    [ -e "$data/postmaster.pid" ] || return 0
    as_postgres "$(postgres_programs)/pg_ctl" -D "$data" -w -m "${2:-fast}" stop >/dev/null 2>&1 || true
}

# postgres_url FOLDER PORT [USER] [DATABASE] [PASSWORD]: prints a connection URL; for the superuser without USER.
postgres_url() {
    local user=${3:-postgres} database=${4:-postgres} password
    password=${5:-$(cat "$1/postgres.password")}
    printf 'postgresql://%s:%s@%s:%s/%s\n' "$user" "$password" "$LOOPBACK" "$2" "$database"
}

# database_environment FOLDER PORT DATABASE: creates the database unless it exists and prints the four URLs that
# gatehouse reads, as KEY=value lines. The roles' passwords are made once per folder.
database_environment() {
    local folder=$1 port=$2 database=$3 role key password
    if [ "$(psql -X -tA "$(postgres_url "$folder" "$port")" \
            -c "SELECT 1 FROM pg_database WHERE datname = '$database'")" != 1 ]; then
        psql -X -q "$(postgres_url "$folder" "$port")" -c "CREATE DATABASE \"$database\"" >/dev/null
    fi
    printf 'DATABASE_ADMIN_URL=%s\n' "$(postgres_url "$folder" "$port" postgres "$database")"
    for role in app owner sequencer; do
        if [ ! -s "$folder/gatehouse_$role.password" ]; then
            (umask 077 && openssl rand -hex 16 >"$folder/gatehouse_$role.password")
        fi
        password=$(cat "$folder/gatehouse_$role.password")
        key=DATABASE_${role^^}_URL
        [ "$role" != app ] || key=DATABASE_URL
        printf '%s=%s\n' "$key" "$(postgres_url "$folder" "$port" "gatehouse_$role" "$database" "$password")"
    done
}

# ---- Redis -----------------------------------------------------------------------------------------------------

# redis_start FOLDER PORT: starts Redis without persistence and waits until it answers.
redis_start() {
    local folder=$1 port=$2 attempt
    mkdir -p "$folder/redis"
    redis_stop "$folder"
    redis-server --port "$port" --bind "$LOOPBACK" --dir "$folder/redis" --save '' --appendonly no \
        --daemonize yes --pidfile "$folder/redis/redis.pid" --logfile "$folder/redis/server.log" >/dev/null 8>&- 9>&-
    for attempt in $(seq 100); do
        if [ "$(redis-cli -h "$LOOPBACK" -p "$port" ping 2>/dev/null)" = PONG ]; then return 0; fi
        sleep 0.05
    done
    tail -n 20 "$folder/redis/server.log" >&2
    die "Redis did not start on port $port after $attempt looks"
}

# Stops the Redis of a folder, if it runs.
redis_stop() {
    local pid attempt
    pid=$(cat "$1/redis/redis.pid" 2>/dev/null) || return 0
    # The number may have been given to another process since.
    case $(readlink "/proc/$pid/exe" 2>/dev/null) in */redis-*) ;; *) rm -f "$1/redis/redis.pid"; return 0 ;; esac
    kill "$pid" 2>/dev/null || return 0
    for attempt in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.05
    done
    say "Redis $pid took no notice of SIGTERM in $attempt looks: killing it"
    kill -9 "$pid" 2>/dev/null || true
}

# ---- Python ----------------------------------------------------------------------------------------------------

# Prints a Python ≥ 3.10 that can make virtual environments; GATEHOUSE_PYTHON is taken as it is.
find_python() {
    local candidate
    if [ -n "${GATEHOUSE_PYTHON:-}" ]; then echo "$GATEHOUSE_PYTHON"; return 0; fi
    for candidate in python3 /usr/bin/python3 python3.13 python3.12 python3.11 python3.10; do
        candidate=$(command -v "$candidate") || continue
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

# Prints the Python of the environment with ops/requirements*.txt, made in the cache folder on first use.
#
# The environment's name holds the requirements' hash, so changed requirements make a new one beside the old.
# With GATEHOUSE_PYTHON set, that interpreter is used as it is.
python_environment() {
    local python hash folder
    if [ -n "${GATEHOUSE_PYTHON:-}" ]; then echo "$GATEHOUSE_PYTHON"; return 0; fi
    python=$(find_python) || die "no Python ≥ 3.10 with the venv module found"
    hash=$({ "$python" -c 'import sys; print(sys.executable, sys.version)'
             cat "$REPOSITORY"/ops/requirements*.txt; } | sha256sum | cut -c1-16)
    folder=${XDG_CACHE_HOME:-$HOME/.cache}/gatehouse/venv-$hash
    mkdir -p "$folder"
    (
        flock 9   # two scripts at once: the second waits for the first one's work
        [ -e "$folder/complete" ] && exit 0
        say "installing Python packages into $folder"
        "$python" -m venv --clear "$folder" >&2 || die "python3 -m venv failed"
        install_requirements "$folder" -r "$REPOSITORY/ops/requirements.txt"
        install_requirements "$folder" --no-deps -r "$REPOSITORY/ops/requirements-without-dependencies.txt"
        "$folder/bin/python" -c 'import fastmcp, fastmcp.server.auth, mcp, stytch, pytest, httpx, cryptography, authlib, trustme' >&2 \
            || die "the Python packages in $folder do not import; delete that folder and try again"
        touch "$folder/complete"
    ) 9>"$folder.lock" || exit 1
    echo "$folder/bin/python"
}

# install_requirements ENVIRONMENT PIP-ARGUMENTS…: three tries with the index, then one with pip's links alone.
install_requirements() {
    local folder=$1 attempt log
    shift
    log=$folder.log
    for attempt in 1 2 3 offline; do
        if [ "$attempt" = offline ]; then set -- --no-index "$@"; fi
        if "$folder/bin/python" -m pip --disable-pip-version-check --no-input install -q "$@" \
                >"$log" 2>&1 </dev/null; then
            return 0
        fi
        say "pip failed (try $attempt): $(grep -m 1 -i error "$log" || tail -n 1 "$log")"
    done
    tail -n 20 "$log" >&2
    die "pip could not install the Python packages (whole output: $log). Check the network or PIP_INDEX_URL," \
        "or set GATEHOUSE_PYTHON to an interpreter that has ops/requirements*.txt"
}

# ---- Building --------------------------------------------------------------------------------------------------

require_swift() {
    command -v swift >/dev/null || die "Swift 6.2 or newer is needed: https://www.swift.org/install/linux/"
}

# Prints the folder of the products of configuration $1 (debug or release).
products_folder() { swift build --package-path "$REPOSITORY" -c "$1" --show-bin-path; }

# Builds the two executables in configuration $1.
build_products() {
    local product
    for product in gatehouse stytch-sandbox; do
        swift build --package-path "$REPOSITORY" -c "$1" --product "$product" >&2 \
            || die "the build of $product failed"
    done
}

# Builds the two executables as they are shipped, in a folder of their own beside the debug build, and prints the folder.
release_products() {
    local product build=(swift build --package-path "$REPOSITORY" --scratch-path "$REPOSITORY/.build-release" -c release)
    say "building (release) into .build-release; the first time takes about ten minutes"
    for product in gatehouse stytch-sandbox; do
        "${build[@]}" --product "$product" >&2 8>&- || die "the build of $product failed"
    done
    "${build[@]}" --show-bin-path
}
