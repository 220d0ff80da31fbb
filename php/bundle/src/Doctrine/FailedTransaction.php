<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

use Doctrine\DBAL\Driver\Connection;

/**
 * What a database does with a transaction that fails, and neither the driver nor DBAL tell.
 *
 * @internal
 */
final class FailedTransaction
{
    /**
     * Whether the transaction that is open can only be rolled back, though its commit will succeed: PostgreSQL answers COMMIT
     * with success also when a statement of the transaction has failed. So whoever needs to know has to ask before.
     */
    public static function isOpenOn(Connection $connection): bool
    {
        $native = self::nativeOf($connection);
        if ($native instanceof \PgSql\Connection) {
            return \PGSQL_TRANSACTION_INERROR === pg_transaction_status($native);
        }
        if (!$native instanceof \PDO || 'pgsql' !== $native->getAttribute(\PDO::ATTR_DRIVER_NAME)) {
            return false;
        }
        try {
            $connection->query('SELECT 1')->free();

            return false;
        } catch (\Throwable) {
            // Also of a lost connection, whose commit says so itself.
            return true;
        }
    }

    /** Whether the transaction is still open, though its commit has failed: SQLite waits for another try, or for a rollback. */
    public static function hasOutlivedItsCommitOn(Connection $connection): bool
    {
        $native = self::nativeOf($connection);
        if ($native instanceof \SQLite3) {
            try {
                // Refused within a transaction. The extension has no other way to ask.
                $connection->exec('BEGIN');
                $connection->exec('ROLLBACK');

                return false;
            } catch (\Throwable) {
                return true;
            }
        }

        return $native instanceof \PDO && $native->inTransaction();
    }

    /** What the driver works with, such as PDO; null where it does not tell. */
    private static function nativeOf(Connection $connection): mixed
    {
        return method_exists($connection, 'getNativeConnection') ? $connection->getNativeConnection() : null;
    }
}
