<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

use Doctrine\DBAL\Connection;
use Fervo\DeferredEventBundle\Backend\PdoConnection;

/**
 * Transactions that a job has left open. What was done in one of them is done only when somebody commits it, and in a batch
 * the next job would go on in it.
 *
 * @internal
 */
final class OpenTransactions
{
    /** @param iterable<string, Connection|\PDO> $connections by their names, those that have been used */
    public function __construct(private readonly iterable $connections)
    {
    }

    /**
     * Rolls them back.
     *
     * @return list<string> the names of their connections
     */
    public function rollBack(): array
    {
        $names = [];
        foreach ($this->connections as $name => $connection) {
            if (!$this->isInTransaction($connection)) {
                continue;
            }
            // Without auto-commit there is always one, and no telling whether anything is in it.
            if (self::isAutoCommit($connection)) {
                $names[] = $name;
            }
            $this->end($connection);
        }

        return $names;
    }

    /** Also one that DBAL does not know of: begun by hand, or left by a commit that failed, on SQLite. */
    private function isInTransaction(Connection|\PDO $connection): bool
    {
        if ($connection instanceof \PDO) {
            return true === NativeTransaction::isOpenOn($connection);
        }
        if ($connection->isTransactionActive() || !$connection->isConnected()) {
            return $connection->isTransactionActive();
        }
        try {
            return true === NativeTransaction::isOpenOn($connection->getNativeConnection());
        } catch (\Throwable) {
            // A driver of the application's own, which does not tell.
            return false;
        }
    }

    private static function isAutoCommit(Connection|\PDO $connection): bool
    {
        return $connection instanceof \PDO ? !(new PdoConnection($connection))->isWithoutAutoCommit() : $connection->isAutoCommit();
    }

    private function end(Connection|\PDO $connection): void
    {
        if ($connection instanceof \PDO) {
            try {
                $connection->rollBack();
            } catch (\PDOException) {
                // The connection is lost, and the transaction with it.
            }

            return;
        }
        try {
            // By their number: without auto-commit, a new one begins where the last one ends.
            for ($levels = $connection->getTransactionNestingLevel(); $levels > 0; --$levels) {
                $connection->rollBack();
            }
        } catch (\Throwable) {
            // The connection is lost, and the transaction with it. The next job of a batch gets another one.
            $connection->close();
        }
        if ($connection->isAutoCommit() && $this->isInTransaction($connection)) {
            $connection->close();
        }
    }
}
