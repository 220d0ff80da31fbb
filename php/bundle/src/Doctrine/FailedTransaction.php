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
     * Whether the transaction that DBAL has open can only be rolled back, or has been already, though its commit will succeed. PostgreSQL
     * answers COMMIT with success also when a statement of the transaction has failed; MySQL and MariaDB roll all of it back at a deadlock,
     * and commit nothing then. So whoever needs to know has to ask before.
     */
    public static function isOpenOn(Connection $connection): bool
    {
        $native = self::nativeOf($connection);
        if ($native instanceof \PgSql\Connection) {
            // Also of one that is over, to whose commit PostgreSQL says yes, too.
            return \in_array(NativeTransaction::postgreSqlStatus($native), [\PGSQL_TRANSACTION_INERROR, \PGSQL_TRANSACTION_IDLE], true);
        }
        if ($native instanceof \mysqli) {
            return false === NativeTransaction::isOpenOn($native);
        }

        return $native instanceof \PDO && match ($native->getAttribute(\PDO::ATTR_DRIVER_NAME)) {
            // Also of a lost connection, whose commit says so itself.
            'pgsql' => !self::isAnswered($connection, 'SELECT 1'),
            // The answer tells PDO whether there is a transaction; that of a statement that failed does not.
            'mysql' => self::isAnswered($connection, 'SELECT 1') && !$native->inTransaction(),
            default => false,
        };
    }

    /** Whether the transaction is still open, though its commit has failed: SQLite waits for another attempt, or for a rollback. */
    public static function hasOutlivedItsCommitOn(Connection $connection): bool
    {
        return true === NativeTransaction::isOpenOn(self::nativeOf($connection));
    }

    private static function isAnswered(Connection $connection, string $sql): bool
    {
        try {
            $connection->query($sql)->free();

            return true;
        } catch (\Throwable) {
            return false;
        }
    }

    /** What the driver works with, such as PDO; null where it does not tell. */
    private static function nativeOf(Connection $connection): mixed
    {
        return method_exists($connection, 'getNativeConnection') ? $connection->getNativeConnection() : null;
    }
}
