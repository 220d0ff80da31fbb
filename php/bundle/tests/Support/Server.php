<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Support;

/** A real server, started for a test in a folder of its own, and ended with it. */
final class Server
{
    /** @var resource */
    private $process;

    /**
     * @param list<string>          $command
     * @param array<string, string> $env
     * @param string                $address where it listens, for stream_socket_client()
     */
    private function __construct(array $command, public readonly string $folder, public readonly string $address, array $env = [])
    {
        $log = ['file', $folder.'/log', 'a'];
        $process = proc_open($command, [['file', '/dev/null', 'r'], $log, $log], $pipes, $folder, $env + getenv());
        if (false === $process) {
            throw new \RuntimeException(sprintf('Cannot start "%s": is it installed?', $command[0]));
        }
        $this->process = $process;

        $deadline = microtime(true) + 10;
        while (!$socket = @stream_socket_client($address, $code, $error, 1)) {
            if (microtime(true) > $deadline || !proc_get_status($process)['running']) {
                throw new \RuntimeException(sprintf('"%s" does not listen at %s: %s', implode(' ', $command), $address, file_get_contents($folder.'/log')));
            }
            usleep(5_000);
        }
        fclose($socket);
    }

    public function __destruct()
    {
        proc_terminate($this->process, \SIGKILL);
        proc_close($this->process);
    }

    /** @param list<string> $options */
    public static function redis(array $options = []): self
    {
        $folder = Folder::create();

        return new self(['redis-server', '--port', '0', '--unixsocket', $folder.'/socket', '--save', '', ...$options], $folder, 'unix://'.$folder.'/socket');
    }

    public static function beanstalkd(): self
    {
        $port = self::freePort();

        return new self(['beanstalkd', '-l', '127.0.0.1', '-p', (string) $port], Folder::create(), "tcp://127.0.0.1:$port");
    }

    /** A superuser "test" and a database "test", at the socket in the server's folder. */
    public static function postgresql(): self
    {
        [$as, $folder] = self::unprivileged('postgres');
        $bin = (glob('/usr/lib/postgresql/*/bin') ?: ['/usr/bin'])[0];
        self::run([...$as, "$bin/initdb", '--no-sync', '--auth=trust', '--username=test', "--pgdata=$folder/data"]);
        $server = new self([...$as, "$bin/postgres", '-D', "$folder/data", '-k', $folder, '-c', 'listen_addresses=', '-c', 'fsync=off'], $folder, "unix://$folder/.s.PGSQL.5432");
        // It listens before it takes anyone in.
        $deadline = microtime(true) + 10;
        while (0 !== self::tryRun(["$bin/createdb", '-h', $folder, '-U', 'test', 'test'])) {
            if (microtime(true) > $deadline) {
                throw new \RuntimeException($server->log());
            }
            usleep(20_000);
        }

        return $server;
    }

    /** A user "test" without a password, who may do all, and a database "test". */
    public static function mariadb(): self
    {
        [$as, $folder] = self::unprivileged('mysql');
        self::run([...$as, 'mariadb-install-db', '--no-defaults', "--datadir=$folder/data", '--auth-root-authentication-method=normal', '--skip-test-db']);
        file_put_contents("$folder/init.sql", "CREATE DATABASE test;\nCREATE USER test@localhost;\nGRANT ALL ON *.* TO test@localhost WITH GRANT OPTION;\n");
        chmod("$folder/init.sql", 0644);

        return new self([...$as, 'mariadbd', '--no-defaults', "--datadir=$folder/data", "--socket=$folder/socket", "--pid-file=$folder/pid", '--skip-networking', "--init-file=$folder/init.sql", '--innodb-flush-log-at-trx-commit=0', '--innodb-buffer-pool-size=16M'], $folder, "unix://$folder/socket");
    }

    /** @param array<string, string> $env */
    public static function php(string $router, string $folder, array $env): self
    {
        $port = self::freePort();

        return new self([\PHP_BINARY, '-d', 'error_log=', '-d', 'log_errors=1', '-d', 'display_errors=0', '-d', 'memory_limit=128M', '-S', "127.0.0.1:$port", $router], $folder, "tcp://127.0.0.1:$port", $env);
    }

    public function log(): string
    {
        return file_get_contents($this->folder.'/log');
    }

    public function pid(): string
    {
        return (string) proc_get_status($this->process)['pid'];
    }

    public function port(): int
    {
        return (int) substr($this->address, strrpos($this->address, ':') + 1);
    }

    /**
     * Database servers do not run as root.
     *
     * @return array{list<string>, string} how to begin a command, and a folder for it
     */
    private static function unprivileged(string $user): array
    {
        $folder = Folder::create();
        if (0 !== posix_geteuid()) {
            return [[], $folder];
        }
        chown($folder, $user);

        return [['setpriv', "--reuid=$user", "--regid=$user", '--clear-groups', 'env', "HOME=$folder"], $folder];
    }

    /** @param list<string> $command */
    private static function run(array $command): void
    {
        if (0 !== self::tryRun($command, $said)) {
            throw new \RuntimeException(implode(' ', $command).":\n".$said);
        }
    }

    /** @param list<string> $command */
    private static function tryRun(array $command, ?string &$said = null): int
    {
        exec(implode(' ', array_map(escapeshellarg(...), $command)).' 2>&1 </dev/null', $lines, $code);
        $said = implode("\n", $lines);

        return $code;
    }

    public static function freePort(): int
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $name = stream_socket_get_name($socket, false);
        fclose($socket);

        return (int) substr($name, strrpos($name, ':') + 1);
    }
}
