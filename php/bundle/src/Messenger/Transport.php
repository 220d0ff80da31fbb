<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\DeferredEventBundle\Exception\InvalidOptionException;

/**
 * A transport of "framework.messenger.transports", as its DSN and its options describe it. Nothing is connected, and nothing of it has
 * to be installed.
 *
 * @internal
 */
final class Transport
{
    /** The schemes of one kind of broker. */
    private const KINDS = ['rediss' => 'redis', 'valkey' => 'redis', 'valkeys' => 'redis', 'amqps' => 'amqp', 'phpamqplib' => 'amqp', 'https' => 'sqs', 'http' => 'sqs'];

    private const DOCTRINE = ['table_name' => 'messenger_messages', 'queue_name' => 'default', 'redeliver_timeout' => 3600];
    private const REDIS = ['stream' => 'messages', 'group' => 'symfony', 'dbindex' => 0, 'redeliver_timeout' => 3600];
    private const BEANSTALKD = ['tube_name' => 'default'];

    /** @var array<string, mixed> without the name, which FrameworkBundle adds */
    public readonly array $options;

    /** @param array<string, mixed> $options beside the DSN */
    public function __construct(
        public readonly string $name,
        #[\SensitiveParameter] public readonly string $dsn,
        array $options = [],
    ) {
        unset($options['transport_name']);
        $this->options = $options;
    }

    /** "doctrine", "redis", "beanstalkd", "amqp", "sqs", "fervo", "sync", "in-memory" or another scheme. */
    public function kind(): string
    {
        if (1 !== preg_match('~^([a-z][a-z0-9+.-]*):~i', $this->dsn, $match)) {
            return 'unknown';
        }
        $scheme = strtolower($match[1]);

        return self::KINDS[$scheme] ?? $scheme;
    }

    /**
     * What a worker has to know of it, without secrets: the address of a broker has neither a user nor a password.
     *
     * @return array<string, string|int|bool|null>
     */
    public function facts(): array
    {
        $kind = $this->kind();

        return ['kind' => $kind] + match ($kind) {
            'doctrine' => $this->doctrine(),
            'redis' => $this->redis(),
            'beanstalkd' => $this->beanstalkd(),
            'fervo' => ['queue' => FervoTransportFactory::read($this->dsn, $this->options, \sprintf('The transport "%s"', $this->name))->queue],
            default => [],
        };
    }

    /** @return array{connection: string, table: string, queue_name: string, redeliver_timeout_ms: int} */
    private function doctrine(): array
    {
        // As Symfony merges them: the DSN goes first.
        $options = $this->query() + $this->options + self::DOCTRINE;

        return [
            'connection' => (string) parse_url($this->dsn, \PHP_URL_HOST),
            'table' => (string) $options['table_name'],
            'queue_name' => (string) $options['queue_name'],
            'redeliver_timeout_ms' => self::milliseconds($options['redeliver_timeout']),
        ];
    }

    /** @return array{address: string, stream: string, group: string, db: int, redeliver_timeout_ms: int} */
    private function redis(): array
    {
        // A cluster is several DSNs; their options are those of all, and the last one has the path.
        $addresses = $path = [];
        $options = $this->options;
        foreach (explode(',', $this->dsn) as $dsn) {
            $options = self::queryOf($dsn) + $options;
            if (1 === preg_match('~^[a-z]+://(/[^?]*)~i', $dsn, $socket)) {
                $addresses[] = $socket[1];
            } else {
                $addresses[] = $this->address($dsn, 6379);
                $path = explode('/', rtrim((string) parse_url($dsn, \PHP_URL_PATH), '/'));
            }
        }
        $options += self::REDIS;

        return [
            'address' => implode(',', $addresses),
            'stream' => (string) ($path[1] ?? $options['stream']),
            'group' => (string) ($path[2] ?? $options['group']),
            'db' => (int) $options['dbindex'],
            'redeliver_timeout_ms' => self::milliseconds($options['redeliver_timeout']),
        ];
    }

    /** @return array{address: string, tube: string} */
    private function beanstalkd(): array
    {
        // As Symfony merges them: here, the options go first.
        $options = $this->options + $this->query() + self::BEANSTALKD;

        return [
            'address' => $this->address($this->dsn, 11300),
            'tube' => (string) $options['tube_name'],
        ];
    }

    private function address(#[\SensitiveParameter] string $dsn, int $port): string
    {
        $parts = parse_url($dsn);
        if (!\is_array($parts) || !isset($parts['host'])) {
            throw new InvalidOptionException(\sprintf('The transport "%s" has a DSN that is not valid: it has no host, or a mark in its password is not percent-encoded.', $this->name));
        }

        return $parts['host'].':'.($parts['port'] ?? $port);
    }

    /** @return array<string, mixed> */
    private function query(): array
    {
        return self::queryOf($this->dsn);
    }

    /** @return array<string, mixed> */
    private static function queryOf(#[\SensitiveParameter] string $dsn): array
    {
        $at = strpos($dsn, '?');
        parse_str(false === $at ? '' : substr($dsn, $at + 1), $query);
        $options = [];
        foreach ($query as $name => $value) {
            $options[(string) $name] = $value;
        }

        return $options;
    }

    private static function milliseconds(mixed $seconds): int
    {
        return (int) (1000 * (float) $seconds);
    }
}
