<?php

declare(strict_types=1);

namespace App\Doctrine;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Doctrine\DBAL\Tools\DsnParser;
use Doctrine\Persistence\ConnectionRegistry;

/** What DoctrineBundle has, for one connection: Debian packages Doctrine, and not its bundle. */
final class Registry implements ConnectionRegistry
{
    private ?Connection $connection = null;

    public function __construct(private readonly string $url)
    {
    }

    public function getDefaultConnectionName(): string
    {
        return 'default';
    }

    public function getConnection(?string $name = null): Connection
    {
        $parser = new DsnParser(['postgres' => 'pdo_pgsql', 'mysql' => 'pdo_mysql', 'sqlite' => 'pdo_sqlite']);

        return $this->connection ??= DriverManager::getConnection($parser->parse($this->url));
    }

    public function getConnections(): array
    {
        return ['default' => $this->getConnection()];
    }

    public function getConnectionNames(): array
    {
        return ['default' => Connection::class];
    }
}
