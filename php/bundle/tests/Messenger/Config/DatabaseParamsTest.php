<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Messenger\Config;

use Fervo\DeferredEventBundle\Messenger\Config\DatabaseParams;
use PHPUnit\Framework\TestCase;

final class DatabaseParamsTest extends TestCase
{
    /**
     * @dataProvider connections
     *
     * @param array<string, mixed> $params
     * @param list<string>         $lines  without driver and format
     */
    public function testAConnectionIsATable(array $params, string $driver, array $lines): void
    {
        $read = DatabaseParams::read($params, 'PW', '/srv/app');

        self::assertSame(['driver = "'.$driver.'"', 'format = "messenger"', ...$lines], $read['lines']);
        self::assertSame(isset($params['password']) || isset($params['primary']['password']), $read['hasPassword']);
    }

    /** @return iterable<string, array{array<string, mixed>, string, list<string>}> */
    public static function connections(): iterable
    {
        yield 'a port' => [['driver' => 'pdo_pgsql', 'host' => 'db', 'port' => 6432, 'user' => 'a@b', 'password' => 'x', 'dbname' => 'my shop'], 'postgres', ['url = "postgres://a%40b@db:6432/my%20shop"', 'password = "${PW}"']];
        yield 'IPv6' => [['driver' => 'pgsql', 'host' => '::1', 'dbname' => 'shop'], 'postgres', ['url = "postgres://[::1]:5432/shop"']];
        yield 'a socket of PostgreSQL' => [['driver' => 'pdo_pgsql', 'host' => '/run/postgresql', 'dbname' => 'shop'], 'postgres', ['url = "postgres:///shop?host=/run/postgresql"']];
        yield 'a socket with a port' => [['driver' => 'pdo_pgsql', 'host' => '/run/postgresql', 'port' => 5433, 'user' => 'u', 'dbname' => 'shop'], 'postgres', ['url = "postgres://u@/shop?host=/run/postgresql/.s.PGSQL.5433"']];
        yield 'TLS of PostgreSQL' => [['driver' => 'pdo_pgsql', 'host' => 'db', 'dbname' => 'shop', 'sslmode' => 'verify-full', 'sslrootcert' => '/ca.pem'], 'postgres', ['url = "postgres://db:5432/shop"', 'tls = true', 'ca_file = "/ca.pem"']];
        yield 'MySQL' => [['driver' => 'pdo_mysql', 'host' => 'db', 'user' => 'u', 'dbname' => 'shop'], 'mysql', ['url = "mysql://u@db:3306/shop"']];
        yield 'a socket of MySQL' => [['driver' => 'mysqli', 'unix_socket' => '/run/mysqld/mysqld.sock', 'dbname' => 'shop'], 'mysql', ['url = "mysql:///shop?socket=/run/mysqld/mysqld.sock"']];
        yield 'TLS of MySQL' => [['driver' => 'pdo_mysql', 'host' => 'db', 'dbname' => 'shop', 'driverOptions' => [1009 => '/ca.pem']], 'mysql', ['url = "mysql://db:3306/shop"', 'tls = true', 'ca_file = "/ca.pem"']];
        yield 'SQLite' => [['driver' => 'pdo_sqlite', 'path' => '/var/data.db'], 'sqlite', ['path = "/var/data.db"']];
        yield 'SQLite below the application' => [['driver' => 'sqlite3', 'path' => 'var/data.db'], 'sqlite', ['path = "/srv/app/var/data.db"']];
        yield 'replicas' => [['driver' => 'pdo_mysql', 'primary' => ['host' => 'main', 'user' => 'u', 'password' => 'x', 'dbname' => 'shop'], 'replica' => []], 'mysql', ['url = "mysql://u@main:3306/shop"', 'password = "${PW}"']];
    }

    /**
     * @dataProvider others
     *
     * @param array<string, mixed> $params
     */
    public function testOtherDatabasesAreRefused(array $params, string $why): void
    {
        $this->expectException(\DomainException::class);
        $this->expectExceptionMessage($why);
        DatabaseParams::read($params, 'PW', '/srv/app');
    }

    /** @return iterable<string, array{array<string, mixed>, string}> */
    public static function others(): iterable
    {
        yield 'a server that is not read' => [['driver' => 'oci8', 'dbname' => 'shop'], 'its driver is "oci8"'];
        yield 'memory' => [['driver' => 'pdo_sqlite', 'memory' => true], 'in the memory of PHP'];
        yield 'no database' => [['driver' => 'pdo_pgsql', 'host' => 'db'], 'it names no database'];
    }
}
