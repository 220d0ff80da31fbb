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

    public static function freePort(): int
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $name = stream_socket_get_name($socket, false);
        fclose($socket);

        return (int) substr($name, strrpos($name, ':') + 1);
    }
}
