<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/**
 * What of the SQL is the server's own.
 *
 * @internal
 */
enum DatabaseServer: string
{
    case PostgreSql = 'postgres';
    /** And MariaDB. */
    case MySql = 'mysql';

    /** An integer: the server's time, epoch milliseconds. It does not depend on the time zone of the session. */
    public function nowMs(): string
    {
        return match ($this) {
            self::PostgreSql => 'CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)',
            self::MySql => "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000",
        };
    }

    /** Behind an INSERT: a row whose unique key is taken is left out. MySQL's INSERT IGNORE would hide other errors, too. */
    public function leaveOutTaken(): string
    {
        return match ($this) {
            self::PostgreSql => 'ON CONFLICT (queue, unique_key) WHERE unique_key IS NOT NULL DO NOTHING',
            self::MySql => 'ON DUPLICATE KEY UPDATE id = id',
        };
    }

    public function label(): string
    {
        return match ($this) {
            self::PostgreSql => 'PostgreSQL',
            self::MySql => 'MySQL or MariaDB',
        };
    }

    /** Whose connection that is; null where the driver is another one. */
    public static function of(mixed $native): ?self
    {
        return match (true) {
            $native instanceof \PDO => match ($native->getAttribute(\PDO::ATTR_DRIVER_NAME)) {
                'pgsql' => self::PostgreSql,
                'mysql' => self::MySql,
                default => null,
            },
            $native instanceof \PgSql\Connection => self::PostgreSql,
            $native instanceof \mysqli => self::MySql,
            default => null,
        };
    }
}
