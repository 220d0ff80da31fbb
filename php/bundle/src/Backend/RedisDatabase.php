<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/** @internal */
final class RedisDatabase
{
    /** redis://HOST/2 or unix:///SOCKET?db=2 */
    public static function of(Dsn $dsn): int
    {
        $database = $dsn->isUnix() ? $dsn->options['db'] ?? '0' : (ltrim($dsn->path, '/') ?: '0');
        if (!ctype_digit($database)) {
            throw new \RuntimeException(sprintf('the database in the option "dsn" is "%s", not a number', $database));
        }

        return (int) $database;
    }
}
