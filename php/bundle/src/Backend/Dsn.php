<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/**
 * The address of a server: SCHEME://USER:PASSWORD@HOST:PORT/PATH?OPTIONS, or unix://USER:PASSWORD@/PATH?OPTIONS.
 *
 * @internal
 */
final class Dsn
{
    /** @param array<array-key, string> $options */
    private function __construct(
        public readonly string $scheme,
        public readonly string $host,
        public readonly int $port,
        public readonly string $path,
        public readonly string $user,
        #[\SensitiveParameter] public readonly string $password,
        public readonly array $options,
    ) {
    }

    /**
     * @param list<string> $schemes that can be, beside unix
     *
     * @throws \UnexpectedValueException it does not tell the DSN, which may hold a password
     */
    public static function parse(#[\SensitiveParameter] string $dsn, array $schemes, int $defaultPort): self
    {
        // parse_url() takes no empty host, as in unix:///run/redis.sock and unix://USER:PASSWORD@/run/redis.sock.
        $parts = parse_url((string) preg_replace('#^unix://([^/]*@)?/#', 'unix://$1localhost/', $dsn, 1, $isUnix));
        $scheme = $parts['scheme'] ?? '';
        $host = $parts['host'] ?? '';
        if (false === $parts || (0 === $isUnix && (!\in_array($scheme, $schemes, true) || '' === $host))) {
            throw new \UnexpectedValueException(sprintf('the option "dsn" is no address such as "%s://localhost:%d" or "unix:///run/some.sock"', $schemes[0], $defaultPort));
        }
        parse_str($parts['query'] ?? '', $options);

        return new self(
            $scheme,
            trim($host, '[]'),
            $parts['port'] ?? $defaultPort,
            $parts['path'] ?? '',
            rawurldecode($parts['user'] ?? ''),
            rawurldecode($parts['pass'] ?? ''),
            array_filter($options, 'is_string'),
        );
    }

    public function isUnix(): bool
    {
        return 'unix' === $this->scheme;
    }

    /** For stream_socket_client(). */
    public function socket(string $transport = 'tcp'): string
    {
        $host = str_contains($this->host, ':') ? "[$this->host]" : $this->host;

        return $this->isUnix() ? 'unix://'.$this->path : "$transport://$host:$this->port";
    }

    /** For people: without user and password. */
    public function __toString(): string
    {
        return $this->isUnix() ? $this->path : $this->host.':'.$this->port;
    }
}
