<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Support;

use Fervo\DeferredEventBundle\Backend\DeferredJob;

/** The embedded queue as fervo-worker creates it. */
final class Queue
{
    public static function create(): string
    {
        $path = Folder::create().'/queue.sqlite';
        self::open($path)->exec(file_get_contents(__DIR__.'/../Fixtures/queue.sql'));

        return $path;
    }

    /** @return list<array<string, mixed>> */
    public static function rows(string $path): array
    {
        return self::open($path)->query('SELECT * FROM fervo_jobs ORDER BY id')->fetchAll(\PDO::FETCH_ASSOC);
    }

    public static function open(string $path): \PDO
    {
        return new \PDO('sqlite:'.$path, null, null, [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION]);
    }

    public static function job(string $payload = 'payload', string $queue = 'default', ?int $delayMs = null, int $priority = 0, ?int $attempts = null, ?string $unique = null): DeferredJob
    {
        return new DeferredJob($payload, $queue, null === $delayMs ? null : (int) (microtime(true) * 1000) + $delayMs, $priority, $attempts, 'foo.action', 'Foo', unique: $unique);
    }
}
