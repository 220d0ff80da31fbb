<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

use Doctrine\DBAL\Driver\Connection;

/**
 * PostgreSQL answers COMMIT with success also when a statement of the transaction has failed; it has rolled back then, and
 * neither PDO nor DBAL tell. So whoever needs to know has to ask before.
 *
 * @internal
 */
final class FailedTransaction
{
    /** Whether the transaction that is open can only be rolled back, though its commit will succeed. */
    public static function isOpenOn(Connection $connection): bool
    {
        $native = method_exists($connection, 'getNativeConnection') ? $connection->getNativeConnection() : null;
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
}
