<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Fervo\DeferredEventBundle\Doctrine\ConnectionTransactions;
use Fervo\DeferredEventBundle\Doctrine\TransactionTracker;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\SendMode;
use Fervo\DeferredEventBundle\Tests\Support\Queue;

/** A process that ends while jobs are held. It prints what becomes of them. */
final class ExitingProcess
{
    /** Open until the end. */
    private static ConnectionTransactions $connection;

    public function run(string $mode, int $failures): never
    {
        $transactions = new TransactionTracker();
        self::$connection = $transactions->watch();
        self::$connection->begun();
        $outbox = new Outbox(
            new FakeBackend($failures, echoes: true),
            SendMode::from($mode),
            static fn () => new FakeLogger(echoes: true),
            transactions: 'after_commit' === $mode ? $transactions : null,
        );
        $outbox->add(Queue::job('1'));
        $outbox->add(Queue::job('2'));
        exit;
    }
}
