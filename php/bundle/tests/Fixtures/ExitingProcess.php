<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Fervo\DeferredEventBundle\Doctrine\ConnectionTransactions;
use Fervo\DeferredEventBundle\Doctrine\TransactionTracker;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\SendMode;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\DeferredEventBundle\Worker\JobBoundary;

/** A process that ends while jobs are held. It prints what becomes of them. */
final class ExitingProcess
{
    /** Open until the end. */
    private static ConnectionTransactions $connection;

    /** @param bool $isInJob it is a job of the worker that exits */
    public function run(string $mode, int $failures, bool $isInJob = false): never
    {
        $transactions = new TransactionTracker();
        self::$connection = $transactions->watch();
        self::$connection->begun();
        $boundary = new JobBoundary([]);
        $outbox = new Outbox(
            new FakeBackend($failures, echoes: true),
            SendMode::from($mode),
            static fn () => new FakeLogger(echoes: true),
            transactions: 'after_commit' === $mode ? $transactions : null,
            boundaries: [$boundary],
        );
        $work = static function () use ($outbox): never {
            $outbox->add(Queue::job('1'));
            $outbox->add(Queue::job('2'));
            exit;
        };
        $isInJob ? $boundary->around($work) : $work();
    }
}
