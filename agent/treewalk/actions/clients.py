"""What is known to be harmless of programs that can destroy data. Allow-lists: whatever else these programs are told to
do is of the never tier. A program that is not in here is bounded by the shape that a human has reviewed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from treewalk.actions.options import Options, known, names
from treewalk.actions.sql import harmless_sql
from treewalk.model.acting import ChangeClass

Judge = Callable[[Sequence[str]], bool]
_CLUSTER, _UNPROVEN = ChangeClass.CLUSTER_OPERATION, ChangeClass.UNPROVEN


# Redis

_REDIS = known(
    flags="-c -2 -3 -4 -6 -e --raw --no-raw --csv --json --quoted-json --no-auth-warning --tls --insecure --version"
    " --help --scan --bigkeys --memkeys --hotkeys --latency --latency-history --stat",
    values="-h -p -s -a -u -n -t -i -d -D --user --pass --sni --cacert --cacertdir --cert --key --pattern"
    " --quoted-pattern",
    leading=True,
    single=True,
)
_REDIS_LOOKS = names("--version --help --scan --bigkeys --memkeys --hotkeys --latency --latency-history --stat")
_REDIS_READS = names(
    "PING ECHO INFO TIME DBSIZE LASTSAVE ROLE GET MGET STRLEN GETRANGE EXISTS TYPE TTL PTTL EXPIRETIME PEXPIRETIME SCAN"
    " RANDOMKEY DUMP LLEN LRANGE LINDEX LPOS HGET HMGET HGETALL HLEN HEXISTS HKEYS HVALS HSCAN HSTRLEN HRANDFIELD SCARD"
    " SISMEMBER SMISMEMBER SMEMBERS SRANDMEMBER SSCAN SINTERCARD ZCARD ZCOUNT ZRANGE ZREVRANGE ZRANGEBYSCORE"
    " ZREVRANGEBYSCORE ZRANK ZREVRANK ZSCORE ZMSCORE ZSCAN ZLEXCOUNT XLEN XRANGE XREVRANGE XREAD XINFO XPENDING XACK"
    " BITCOUNT BITPOS GETBIT BITFIELD_RO SORT_RO GEOPOS GEODIST GEOHASH PUBSUB COMMAND"
)
"""XACK is among them: the stream keeps the entry."""

_REDIS_BELOW = {
    "CONFIG": names("GET RESETSTAT"),
    "CLIENT": names("LIST INFO ID GETNAME KILL UNPAUSE"),
    "MEMORY": names("USAGE STATS DOCTOR MALLOC-STATS"),
    "LATENCY": names("LATEST HISTORY DOCTOR GRAPH HISTOGRAM RESET"),
    "SLOWLOG": names("GET LEN RESET"),
    "OBJECT": names("ENCODING FREQ IDLETIME REFCOUNT"),
    "MODULE": names("LIST"),
    "SCRIPT": names("EXISTS"),
    "FUNCTION": names("LIST STATS"),
}
_REDIS_SETTINGS = re.compile(
    r"(activedefrag|active-defrag-[a-z-]+|lazyfree-lazy-[a-z-]+|slowlog-(log-slower-than|max-len)|loglevel|hz|dynamic-hz"
    r"|latency-monitor-threshold|maxclients|timeout|tcp-keepalive)"
)
"""Settings that take nothing away. `maxmemory` and its policy can make it evict data; `redis_max_memory` raises."""


def _redis(args: Sequence[str]) -> bool:
    found = _REDIS.read(args)
    if found is None:
        return False
    if not found.words:  # else it would read commands from its standard input
        return any(name in _REDIS_LOOKS for name, _ in found.given)
    name, *rest = (word.upper() for word in found.words)
    if name in _REDIS_READS:
        return True
    if name == "CONFIG" and rest[:1] == ["SET"]:
        pairs = found.words[2:]
        return bool(pairs) and len(pairs) % 2 == 0 and all(_REDIS_SETTINGS.fullmatch(k.lower()) for k in pairs[::2])
    if name == "CLIENT" and {"MASTER", "SLAVE", "REPLICA"} & set(rest):
        return False
    return bool(rest) and rest[0] in _REDIS_BELOW.get(name, ())


# databases

_PSQL = known(
    flags="-w -W -X -q -t -A -x -1 -E -e -a -b -n -S -0 -H -z -l -V --no-password --password --no-psqlrc --quiet"
    " --tuples-only --no-align --expanded --single-transaction --echo-all --echo-errors --echo-queries --list --version"
    " --csv --no-readline",
    values="-c -h -p -U -d -F -R -P -v --command --host --port --username --dbname --field-separator --record-separator"
    " --pset --set --variable",
)
_MYSQL = known(
    flags="-N -B -s -r -t -E -C -V --batch --silent --skip-column-names --table --vertical --raw --compress --version"
    " --no-auto-rehash --quick",
    values="-e -h -P -u -D -S --execute --host --port --user --database --socket --protocol --connect-timeout"
    " --ssl-mode --default-character-set",
    joined="-p --password",
)
_MYSQLADMIN = known(
    flags="-s -v -V --silent --verbose --version",
    values="-h -P -u -S --host --port --user --socket --protocol --connect-timeout",
    joined="-p --password -w --wait",
)


def _sql(options: Options, query: tuple[str, ...], asks: str) -> Judge:
    """A client that is harmless when every query that it is given is; without one it would read its standard input."""

    def harmless(args: Sequence[str]) -> bool:
        found = options.read(args)
        if found is None:
            return False
        queries = found.values(*query)
        looks = bool(names(asks) & {name for name, _ in found.given})
        return (bool(queries) or looks) and all(harmless_sql(one) for one in queries)

    return harmless


# brokers and what they stand on


def _named(options: Options, *patterns: str) -> Judge:
    """A program whose first words name what it does: each pattern stands for the words that are harmless."""
    wanted = re.compile("|".join(f"(?:{one})" for one in patterns))

    def harmless(args: Sequence[str]) -> bool:
        found = options.read(args)
        return found is not None and bool(wanted.fullmatch(" ".join(found.words)))

    return harmless


_RABBIT = known(
    flags="-q -s -l --quiet --silent --longnames --no-table-headers --local --online --offline --as-json --version"
    " --help",
    values="-n -t -p --node --timeout --vhost --formatter",
)
_RABBIT_READS = (
    r"(list_\w+|status|cluster_status|ping|report|environment|version|help|await_startup|node_health_check)( .*)?",
    r"close_connection( .*)?",
)
_DIAGNOSTICS = (
    r"(check_\w+|list_\w+|status|cluster_status|ping|alarms|listeners|memory_breakdown|server_version|erlang_version"
    r"|runtime_thread_stats|is_running|is_booting|resolver_info|environment|help)( .*)?",
)
_RABBITADMIN = known(
    flags="-q -s --quiet --version --help --ssl",
    values="-H -P -u -p -V -f -d --host --port --username --password --vhost --format --depth",
)
_GROUPS = known(
    flags="--describe --list --all-groups --members --offsets --state --verbose --version --help",
    values="--bootstrap-server --group --timeout --command-config",
)
_KAFKA = known(
    flags="--describe --version --help",
    values="--bootstrap-server --command-config --topic --topics --topic-list --broker-list --time --partitions",
)
_ETCD = known(
    flags="--hex --prefix --keys-only --count-only --print-value-only --insecure-skip-tls-verify",
    values="-w --write-out --endpoints --cacert --cert --key --user --password --command-timeout --dial-timeout --limit"
    " --consistency --order --sort-by --rev",
)
_KCAT = known(flags="-L -Q -J -q -V", values="-b -t -X -m")


def _kcat(args: Sequence[str]) -> bool:
    found = _KCAT.read(args)
    return found is not None and not found.words and any(name in ("-L", "-Q", "-V") for name, _ in found.given)


def _only(text: str) -> Judge:
    """A program of which only these single words are harmless."""
    harmless = names(text)
    return lambda args: len(args) == 1 and args[0].lower() in harmless


# what fetches, finds and writes files

_CURL = known(
    flags="-f -s -S -k -v -i -I -G -4 -6 -g --fail --silent --show-error --insecure --verbose --include --head --get"
    " --fail-with-body --compressed --ipv4 --ipv6 --globoff --http1.1 --http2 -V --version --retry-connrefused",
    values="-X -H -d -m -u -w -o -A --request --header --data --data-raw --data-urlencode --json --max-time --user"
    " --write-out --output --user-agent --connect-timeout --retry --retry-delay --retry-max-time --url --cacert",
)
_WGET = known(
    flags="-q -S --quiet --spider --server-response --no-verbose --no-check-certificate --version",
    values="-O -T -t --output-document --timeout --tries --header --user-agent",
)
_NOWHERE = ("-", "/dev/null", "/dev/stdout")


def _curl(args: Sequence[str]) -> bool:
    """Calls by HTTP that write no file. What they ask for is told by their words, as those of every command."""
    found = _CURL.read(args)
    if found is None:
        return False
    urls = [*found.words, *found.values("--url")]
    methods = {one.upper() for one in found.values("-X", "--request")}
    bodies = found.values("-d", "--data", "--data-raw", "--data-urlencode", "--json", "-H", "--header")
    return (
        methods <= {"GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS"}
        and all(one in _NOWHERE for one in found.values("-o", "--output"))
        and not any("%output" in one or one.startswith("@") for one in found.values("-w", "--write-out"))
        and not any(one.startswith("@") or "=@" in one for one in bodies)
        and all(_by_http(url) for url in urls)
    )


def _wget(args: Sequence[str]) -> bool:
    found = _WGET.read(args)
    if found is None:
        return False
    out = found.values("-O", "--output-document")
    dry = any(name in ("--spider", "--version") for name, _ in found.given)
    return (dry or (bool(out) and all(one in _NOWHERE for one in out))) and all(_by_http(url) for url in found.words)


_HTTP = re.compile(r"https?://.+|(localhost|\d+\.\d+\.\d+\.\d+)([:/].*)?", re.IGNORECASE)
"""An address that is called by HTTP: without a scheme curl goes by the host's name (`ftp.…`, `dict.…`)."""


def _by_http(url: str) -> bool:
    return bool(_HTTP.fullmatch(url))


_FIND = names(
    "-H -L -P -name -iname -path -ipath -wholename -regex -iregex -type -xtype -mtime -mmin -atime -amin -ctime"
    " -cmin -newer -size -empty -user -group -uid -gid -perm -maxdepth -mindepth -depth -mount -xdev -prune -print"
    " -print0 -printf -ls -quit -not -and -or -o -a -readable -writable -executable -links -inum -samefile -true"
    " -false -nouser -nogroup -daystart -follow"
)
_NUMBER = re.compile(r"-\d+[A-Za-z]?")


def _find(args: Sequence[str]) -> bool:
    return all(one in _FIND or _NUMBER.fullmatch(one) for one in args if one.startswith("-"))


_SORT = known(flags="-n -r -u -h -b -f -g -M -V -c -C -z -s", values="-k -t -S")
_ICONV = known(flags="-l -c -s", values="-f -t")


def _nothing(args: Sequence[str]) -> bool:
    return bool(args) and all(one in ("--version", "--help") for one in args)


CLIENTS: dict[str, tuple[Judge, ChangeClass]] = {
    **dict.fromkeys(names("redis-cli valkey-cli keydb-cli memurai-cli"), (_redis, _UNPROVEN)),
    "psql": (_sql(_PSQL, ("-c", "--command"), "-l -V --list --version"), _UNPROVEN),
    **dict.fromkeys(names("mysql mariadb"), (_sql(_MYSQL, ("-e", "--execute"), "-V --version"), _UNPROVEN)),
    **dict.fromkeys(
        names("mysqladmin mariadb-admin"),
        (
            _named(_MYSQLADMIN, "ping|status|processlist|extended-status|variables|version", r"kill \d+(,\d+)*"),
            _UNPROVEN,
        ),
    ),
    "rabbitmqctl": (_named(_RABBIT, *_RABBIT_READS), _CLUSTER),
    "rabbitmq-diagnostics": (_named(_RABBIT, *_DIAGNOSTICS), _CLUSTER),
    "rabbitmqadmin": (_named(_RABBITADMIN, "(list|show)( .*)?"), _CLUSTER),
    "kafka-consumer-groups": (_named(_GROUPS, ""), _CLUSTER),
    **dict.fromkeys(
        names("kafka-broker-api-versions kafka-get-offsets kafka-log-dirs"), (_named(_KAFKA, ""), _CLUSTER)
    ),
    **dict.fromkeys(names("kcat kafkacat"), (_kcat, _CLUSTER)),
    "zkserver": (_only("status version"), _CLUSTER),
    "etcdctl": (_named(_ETCD, r"get .*|version|(member|alarm) list|endpoint (health|status|hashkv)"), _CLUSTER),
    "consul": (_only("members reload version"), _CLUSTER),
    "nomad": (_only("status version"), _CLUSTER),
    "curl": (_curl, _UNPROVEN),
    "wget": (_wget, _UNPROVEN),
    "find": (_find, _UNPROVEN),
    "sort": (_named(_SORT, ".*"), _UNPROVEN),
    "iconv": (_named(_ICONV, ".*"), _UNPROVEN),
    "git": (_only("status version"), _UNPROVEN),
}
"""By the program's name in lower case without `.sh` and version: what is harmless, and the class of everything else."""

_NEVER_HARMLESS = names(
    "cp mv tee rsync ln link install sponge split csplit tar bsdtar cpio pax unzip zip gzip gunzip bzip2 bunzip2 xz"
    " unxz zstd lz4 7z ar patch sed fallocate logrotate tmpwatch tmpreaper stress stress-ng rename prename mmv detox"
    " rclone fd fdfind cryptsetup nvme hdparm sgdisk blkzone zfs zpool btrfs lvm lvreduce lvresize vgreduce dmsetup"
    " mdadm losetup mount umount swapoff swapon fsck e2fsck tune2fs resize2fs debugfs badblocks quotacheck"
    " xfs_repair xfs_growfs flashcp mtd_debug openssl gpg systemd-tmpfiles redis-benchmark redis-check-aof"
    " redis-check-rdb redis-server redis-sentinel valkey-server iredis redli rdcli rdb postgres pg_ctl pg_ctlcluster"
    " pg_dropcluster initdb pg_restore pg_dump pg_dumpall pg_basebackup pg_rewind pg_upgrade pg_archivecleanup"
    " pg_repack createdb pgbench pgcli mycli litecli usql sqlite3 sqlcmd sqlplus cqlsh influx influxd clickhouse"
    " clickhouse-client cockroach tarantoolctl mysqld mysqldump mysqlimport mysqlbinlog mysqlcheck mysqlpump"
    " mysql_install_db mysql_upgrade mysql_secure_installation myisamchk innochecksum mariadb-dump mariadb-import"
    " mongosh mongo mongod mongodump mongorestore mongoimport mongoexport mongofiles arangosh cypher-shell"
    " ldapdelete ldapmodify ldapadd slapadd memcached-tool memcrm memcflush couchbase-cli nats pulsar-admin"
    " pulsar-client mqadmin artemis rabbitmq-queues rabbitmq-plugins rabbitmq-upgrade rabbitmq-streams zkcleanup"
    " zktxnlogtoolkit etcdutl etcd aws gcloud az gsutil s3cmd s4cmd mc s5cmd hdfs hadoop hbase hive beeline"
    " spark-submit ceph rados rbd gluster terraform tofu pulumi vault restic borg duplicity velero dbmate goose"
    " rails rake"
)
"""Programs of which nothing is harmless enough to be done by a machine alone."""

BROKERS = re.compile(r"(kafka|connect|zookeeper|rabbitmq|pulsar|bookkeeper)-[a-z-]+|(zk|bk)[a-z]+")
"""Programs of brokers; those that are not in the table are never harmless."""

ORDINARY = names(
    "install split sort link patch rename mount ar mc nats hive rake rails az influx etcd vault consul nomad mysql"
    " mariadb mongo postgres goose aws git ceph hbase hadoop detox stress rdb fd zip restic"
    " find"
)
"""Names that are also words, or names of services: they count where a program stands, and not among other words."""


def listed(name: str) -> bool:
    """Whether a bare name stands in here by itself, and is not only like that of a broker's program."""
    return name in CLIENTS or name in _NEVER_HARMLESS


def judged(name: str) -> tuple[Judge, ChangeClass] | None:
    """What is known of a program by its bare name; None where it is not one of these."""
    found = CLIENTS.get(name)
    if found is not None:
        return found
    if BROKERS.fullmatch(name):
        return _nothing, _CLUSTER
    return (_nothing, _UNPROVEN) if name in _NEVER_HARMLESS else None
