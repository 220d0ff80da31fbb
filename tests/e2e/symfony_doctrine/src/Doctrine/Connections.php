<?php

declare(strict_types=1);

namespace App\Doctrine;

use Doctrine\DBAL\Connection;
use Doctrine\Persistence\ConnectionRegistry;

/** As DoctrineBundle's registry. */
final class Connections implements ConnectionRegistry
{
    /** @param array<string, Connection> $connections */
    public function __construct(private readonly array $connections)
    {
    }

    public function getDefaultConnectionName()
    {
        return 'default';
    }

    public function getConnection($name = null)
    {
        return $this->connections[$name ?? 'default'] ?? throw new \InvalidArgumentException(sprintf('There is no connection "%s".', $name));
    }

    public function getConnections()
    {
        return $this->connections;
    }

    public function getConnectionNames()
    {
        return array_combine(array_keys($this->connections), array_keys($this->connections));
    }
}
