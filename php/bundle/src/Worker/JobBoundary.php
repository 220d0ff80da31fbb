<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Worker;

use Fervo\DeferredEventBundle\Doctrine\OpenTransactions;
use Fervo\DeferredEventBundle\Exception\OpenTransactionException;
use Fervo\DeferredEventBundle\Outbox;

/**
 * A listener that has returned is not one that is done: not within a transaction, and not while its events are not sent.
 *
 * @internal
 */
final class JobBoundary
{
    /** Whether something of the work that failed last was undone: rolled back, or dropped before it was sent. */
    public bool $hasUndone = false;

    /** How often during() has been entered. */
    private int $depth = 0;

    /** @param iterable<Outbox> $outboxes the one that there is, if the job has used it */
    public function __construct(private readonly iterable $outboxes, private readonly ?OpenTransactions $openTransactions = null)
    {
    }

    /**
     * @template T
     *
     * @param \Closure(): T $work
     *
     * @return T
     *
     * @throws \Throwable what the work throws, or why it is not done
     */
    public function around(\Closure $work): mixed
    {
        $this->hasUndone = false;
        $connections = [];
        try {
            try {
                $result = $this->during($work);
            } finally {
                // Whatever has happened: the next job of a batch must not go on in it.
                $connections = $this->rollBack();
            }
            if ([] !== $connections) {
                throw new OpenTransactionException($connections);
            }
            foreach ($this->outboxes as $outbox) {
                $outbox->flush();
            }

            return $result;
        } catch (\Throwable $error) {
            $this->hasUndone = [] !== $connections;
            foreach ($this->outboxes as $outbox) {
                $this->hasUndone = $outbox->jobFailed() || $this->hasUndone;
            }
            throw $error;
        }
    }

    /**
     * Marks work as a job's, which goes on when a command or a request of the application that it runs inside ends.
     *
     * @template T
     *
     * @param \Closure(): T $work
     *
     * @return T
     */
    public function during(\Closure $work): mixed
    {
        ++$this->depth;
        try {
            return $work();
        } finally {
            --$this->depth;
        }
    }

    /** Also in a shutdown function, when the work has called exit() or died. */
    public function isWorking(): bool
    {
        return $this->depth > 0;
    }

    /** @return list<string> the names of the connections on which a transaction was open */
    public function rollBack(): array
    {
        return $this->openTransactions?->rollBack() ?? [];
    }
}
