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
     * @return int how many were moved
     *
     * @throws SendFailedException when the queue does not take them; they stay in the table
     */
    public function run(): int
    {
        $moved = 0;
        do {
            $moved += $now = $this->table->relay($this->backend, self::TOGETHER);
        } while (self::TOGETHER === $now);

        return $moved;
    }

    public function createTable(): void
    {
        $this->table->create();
    }
}
