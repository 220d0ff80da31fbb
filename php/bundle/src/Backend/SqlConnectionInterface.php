<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/**
 * The application's own connection to its database, whose transactions are the application's.
 *
 * @internal
 */
interface SqlConnectionInterface
{
    /**
     * @param list<int|string|Bytes|null> $values of the placeholders "?"
     *
     * @throws \Exception what the driver throws
     */
    public function execute(string $sql, array $values): void;

    /** The driver's own connection: PDO, PgSql\Connection, mysqli or another one; null when it is not connected. */
    public function native(): mixed;

    /** Whether somebody has to commit each statement, also outside of a transaction that was begun. */
    public function isWithoutAutoCommit(): bool;
}
