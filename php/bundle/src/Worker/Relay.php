<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Doctrine\OutboxTable;
use Fervo\DeferredEventBundle\Exception\SendFailedException;

/**
 * Moves the events of the table to the queue, until there are no more.
 *
 * @internal
 */
final class Relay
{
    /** The payload that runs it in the worker. It is not signed: all it can do is what would be done anyway. */
    public const PAYLOAD = 'fervo:relay';

    /** Events of a transaction: what a relay that dies sends once more, at most. */
    private const TOGETHER = 100;

    public function __construct(private readonly OutboxTable $table, private readonly BackendInterface $backend)
    {
    }

    /**
     * What the queue refuses is passed by, and stays; nobody behind waits for it.
     *
     * @param int|null $about how many are enough; null = all
     *
     * @return int how many were moved
     *
     * @throws SendFailedException when the queue has not taken them all; those stay in the table
     */
    public function run(?int $about = null): int
    {
        $moved = $taken = $last = 0;
        $failure = null;
        do {
            $step = $this->table->relay($this->backend, self::TOGETHER, $last);
            $moved += $step->moved;
            $taken += $step->taken;
            $last = $step->last;
            $failure ??= $step->failure;
        } while ($step->hasMore && $step->isQueueThere() && $taken < ($about ?? \PHP_INT_MAX));
        if (null !== $failure) {
            throw $failure;
        }

        return $moved;
    }

    public function createTable(): void
    {
        $this->table->create();
    }
}
