<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Support;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;

/** A database with fervo-worker's tables, on a server of PostgreSQL or MariaDB, and the ways to connect to it. */
final class Database
{
    private static int $count = 0;

    private readonly string $name;

    /** @param string $type the backend's: "postgres" or "mysql" */
    public function __construct(private readonly Server $server, public readonly string $type)
    {
        $this->name = 'd'.++self::$count;
        $main = new \PDO($this->dsn('test'), 'test', null, [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION]);
        $main->exec('CREATE DATABASE '.$this->name);
        $pdo = $this->pdo();
        $pdo->exec((string) file_get_contents(__DIR__."/../Fixtures/queue.$type.sql"));
        $pdo = $this->pdo();
        $pdo->exec('CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY)'.('mysql' === $type ? ' ENGINE = InnoDB' : ''));
        // As a job that the database refuses.
        $pdo->exec("ALTER TABLE fervo_jobs ADD CONSTRAINT refused CHECK (queue <> 'refused')");
    }

    /** @param array<int, mixed> $attributes */
    public function pdo(array $attributes = [], string $user = 'test'): \PDO
    {
        return new \PDO($this->dsn($this->name), $user, null, $attributes + [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION]);
    }

    /** @param string $driver of DBAL */
    public function dbal(string $driver): Connection
    {
        return DriverManager::getConnection($this->params($driver));
    }

    /** @return array<string, mixed> */
    public function params(string $driver): array
    {
        return ['driver' => $driver, 'user' => 'test', 'dbname' => $this->name]
            + ('postgres' === $this->type ? ['host' => $this->server->folder] : ['unix_socket' => $this->server->folder.'/socket', 'charset' => 'utf8mb4']);
    }

    /** @return list<array<string, mixed>> what another connection sees */
    public function rows(): array
    {
        $rows = $this->query('SELECT * FROM fervo_jobs ORDER BY id')->fetchAll(\PDO::FETCH_ASSOC);

        return array_map(static fn (array $row): array => ['payload' => \is_resource($row['payload']) ? stream_get_contents($row['payload']) : $row['payload']] + $row, $rows);
    }

    /** @return list<string> of the jobs that another connection sees */
    public function payloads(): array
    {
        return array_column($this->rows(), 'payload');
    }

    /** @return list<int> of the orders that another connection sees */
    public function orders(): array
    {
        return array_map(intval(...), $this->query('SELECT id FROM orders ORDER BY id')->fetchAll(\PDO::FETCH_COLUMN));
    }

    private function query(string $sql): \PDOStatement
    {
        return $this->pdo()->query($sql) ?: throw new \LogicException($sql);
    }

    private function dsn(string $name): string
    {
        return 'postgres' === $this->type ? "pgsql:host={$this->server->folder};dbname=$name" : "mysql:unix_socket={$this->server->folder}/socket;dbname=$name;charset=utf8mb4";
    }
}
