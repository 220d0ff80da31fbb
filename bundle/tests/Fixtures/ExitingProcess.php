<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Fervo\DeferredEventBundle\Doctrine\TransactionTracker;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\SendMode;
use Fervo\DeferredEventBundle\Tests\Support\Queue;

/** A process that ends while jobs are held. It prints what becomes of them. */
final class ExitingProcess
{
    public function run(string $mode, int $failures): never
    {
        $transactions = new TransactionTracker();
        $transactions->begun();
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
