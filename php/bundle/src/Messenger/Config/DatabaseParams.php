<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger\Config;

/**
 * The parameters of a DBAL connection as lines of a broker's table.
 *
 * @internal
 */
final class DatabaseParams
{
    private const DRIVERS = [
        'pdo_pgsql' => 'postgres', 'pgsql' => 'postgres', 'postgres' => 'postgres', 'postgresql' => 'postgres',
        'pdo_mysql' => 'mysql', 'mysqli' => 'mysql', 'mysql' => 'mysql', 'mysql2' => 'mysql',
        'pdo_sqlite' => 'sqlite', 'sqlite3' => 'sqlite', 'sqlite' => 'sqlite',
    ];

    /** PDO::MYSQL_ATTR_SSL_CA, _CERT and _KEY, as numbers: the extension may be missing. */
    private const MYSQL_TLS = [1009 => 'ca_file', 1008 => 'cert_file', 1007 => 'key_file'];
    private const POSTGRES_TLS = ['sslrootcert' => 'ca_file', 'sslcert' => 'cert_file', 'sslkey' => 'key_file'];

    /**
     * @param array<string, mixed> $params   of Connection::getParams()
     * @param string               $variable of the environment, with the password
     *
     * @return array{lines: list<string>, notes: list<string>, hasPassword: bool}
     *
     * @throws \DomainException when the worker cannot read the database
     */
    public static function read(#[\SensitiveParameter] array $params, string $variable, string $projectDir): array
    {
        $notes = [];
        if (isset($params['primary']) && \is_array($params['primary'])) {
            $notes[] = 'The connection has replicas; the worker uses the primary alone.';
            $params = $params['primary'] + $params;
        }
        $driver = self::DRIVERS[$params['driver'] ?? ''] ?? self::driverOfClass((string) ($params['driverClass'] ?? ''))
            ?? throw new \DomainException(\sprintf('its driver is "%s", and the worker reads tables of PostgreSQL, MariaDB, MySQL and SQLite', $params['driver'] ?? $params['driverClass'] ?? 'unknown'));
        if ('sqlite' === $driver) {
            return ['lines' => self::sqlite($params, $projectDir), 'notes' => $notes, 'hasPassword' => false];
        }
        $lines = ['driver = '.Toml::text($driver), 'format = "messenger"', 'url = '.Toml::text(self::url($driver, $params))];
        $hasPassword = '' !== (string) ($params['password'] ?? '');
        if ($hasPassword) {
            $lines[] = 'password = '.Toml::variable($variable);
        }
        if ([] !== $tls = self::tls($driver, $params)) {
            array_push($lines, ...$tls);
            $notes[] = 'With TLS, the worker always verifies the certificate and the name of the server.';
        }
        if ('mysql' === $driver && 'localhost' === ($params['host'] ?? '') && !isset($params['unix_socket'])) {
            $notes[] = 'PHP reaches "localhost" by the socket of the server; where it has no TCP: url = "mysql:///DATABASE?socket=/run/mysqld/mysqld.sock" with username.';
        }

        return ['lines' => $lines, 'notes' => $notes, 'hasPassword' => $hasPassword];
    }

    /** @param array<string, mixed> $params */
    private static function url(string $driver, array $params): string
    {
        $user = (string) ($params['user'] ?? '');
        $database = rawurlencode((string) ($params['dbname'] ?? ''));
        if ('' === $database) {
            throw new \DomainException('it names no database');
        }
        $host = (string) ($params['host'] ?? 'localhost');
        $socket = 'mysql' === $driver ? (string) ($params['unix_socket'] ?? '') : (str_starts_with($host, '/') ? $host : '');
        if ('' !== $socket) {
            $port = (int) ($params['port'] ?? 5432);
            if ('postgres' === $driver && 5432 !== $port) {
                $socket = rtrim($socket, '/').'/.s.PGSQL.'.$port;
            }

            return \sprintf('%s://%s/%s?%s=%s', $driver, '' === $user ? '' : rawurlencode($user).'@', $database, 'mysql' === $driver ? 'socket' : 'host', self::path($socket));
        }
        $port = (string) ($params['port'] ?? '') ?: ('mysql' === $driver ? '3306' : '5432');
        $host = str_contains($host, ':') && !str_starts_with($host, '[') ? '['.$host.']' : $host;

        return \sprintf('%s://%s%s:%s/%s', $driver, '' === $user ? '' : rawurlencode($user).'@', $host, $port, $database);
    }

    private static function path(string $path): string
    {
        return str_replace('%2F', '/', rawurlencode($path));
    }

    /**
     * @param array<string, mixed> $params
     *
     * @return list<string>
     */
    private static function tls(string $driver, array $params): array
    {
        $files = [];
        foreach ('mysql' === $driver ? self::MYSQL_TLS : self::POSTGRES_TLS as $name => $option) {
            $value = \is_int($name) ? ($params['driverOptions'][$name] ?? null) : ($params[$name] ?? null);
            if (\is_string($value) && '' !== $value) {
                $files[] = $option.' = '.Toml::text($value);
            }
        }
        $isWanted = \in_array($params['sslmode'] ?? null, ['require', 'verify-ca', 'verify-full'], true);

        return [] === $files && !$isWanted ? [] : ['tls = true', ...$files];
    }

    /**
     * @param array<string, mixed> $params
     *
     * @return list<string>
     */
    private static function sqlite(array $params, string $projectDir): array
    {
        $path = (string) ($params['path'] ?? '');
        if ('' === $path || ':memory:' === $path || (bool) ($params['memory'] ?? false)) {
            throw new \DomainException('it is in the memory of PHP');
        }

        return ['driver = "sqlite"', 'format = "messenger"', 'path = '.Toml::text(str_starts_with($path, '/') ? $path : $projectDir.'/'.$path)];
    }

    private static function driverOfClass(string $class): ?string
    {
        return match (true) {
            str_contains($class, '\PgSQL\\') => 'postgres',
            str_contains($class, '\MySQL\\'), str_contains($class, '\Mysqli\\') => 'mysql',
            str_contains($class, '\SQLite') => 'sqlite',
            default => null,
        };
    }
}
