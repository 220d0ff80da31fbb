<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\ParameterType;

/** @internal */
final class DbalConnection implements SqlConnectionInterface
{
    public function __construct(private readonly Connection $connection)
    {
    }

    public function execute(string $sql, array $values): void
    {
        $this->connection->executeStatement(
            $sql,
            array_map(static fn (int|string|Bytes|null $value): int|string|null => $value instanceof Bytes ? $value->value : $value, $values),
            array_map(static fn (int|string|Bytes|null $value): mixed => match (true) {
                $value instanceof Bytes => ParameterType::BINARY,
                \is_int($value) => ParameterType::INTEGER,
                null === $value => ParameterType::NULL,
                default => ParameterType::STRING,
            }, $values),
        );
    }

    public function native(): mixed
    {
        // A server that cannot be reached is not asked again.
        return $this->connection->isConnected() ? $this->connection->getNativeConnection() : null;
    }

    public function isWithoutAutoCommit(): bool
    {
        return !$this->connection->isAutoCommit();
    }
}
