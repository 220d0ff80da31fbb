<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

/**
 * The transaction as the database has it, which need not be what DBAL believes: it may have been begun by a statement of one's own,
 * have outlived a commit that failed (SQLite), or be gone with a deadlock (MySQL).
 *
 * @internal
 */
final class NativeTransaction
{
    /**
     * @param mixed $native what the driver works with, such as PDO
     *
     * @return bool|null whether one is open; null where there is no way to ask
     */
    public static function isOpenOn(mixed $native): ?bool
    {
        try {
            return match (true) {
                // Only from PHP 8.4 on does it know of what was not begun by itself, on SQLite.
                $native instanceof \PDO => $native->inTransaction() || ('sqlite' === $native->getAttribute(\PDO::ATTR_DRIVER_NAME) && self::refusesToBegin($native)),
                $native instanceof \SQLite3 => self::refusesToBegin($native),
                $native instanceof \PgSql\Connection => \in_array(self::postgreSqlStatus($native), [\PGSQL_TRANSACTION_INTRANS, \PGSQL_TRANSACTION_INERROR], true),
                // MySQL has no such variable.
                $native instanceof \mysqli && str_contains($native->server_info, 'MariaDB') => self::hasMariaDbOne($native),
                default => null,
            };
        } catch (\Throwable) {
            // The connection is lost.
            return null;
        }
    }

    /** One of PGSQL_TRANSACTION_… */
    public static function postgreSqlStatus(\PgSql\Connection $native): int
    {
        // DBAL takes a statement's result and not the end behind it; until then, the statement counts as running.
        while (false !== pg_get_result($native)) {
        }

        return pg_transaction_status($native);
    }

    /** SQLite has no other way to be asked. It touches no file. */
    private static function refusesToBegin(\PDO|\SQLite3 $native): bool
    {
        try {
            if (false === @$native->exec('BEGIN')) {
                return true;
            }
        } catch (\Throwable) {
            return true;
        }
        $native->exec('ROLLBACK');

        return false;
    }

    private static function hasMariaDbOne(\mysqli $native): ?bool
    {
        $result = $native->query('SELECT @@in_transaction');

        $row = $result instanceof \mysqli_result ? $result->fetch_row() : null;

        return \is_array($row) ? (bool) current($row) : null;
    }
}
