<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\DeferredEventBundle\Worker\JobBoundary;
use Fervo\DeferredEventBundle\Worker\Judge;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Exception\HandlerFailedException;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Component\Messenger\Stamp\FlushBatchHandlersStamp;

/**
 * The bus for Messenger's worker: an open transaction is rolled back, and fails the message, before Messenger decides on it. So the copy
 * for the failure transport is not written into a transaction that nobody commits.
 *
 * What was undone may be the work of a handler that had succeeded. Messenger would not call that one again, by the stamp that it
 * leaves in the envelope; so the message fails as it was received, and all handlers run again.
 *
 * @internal
 */
final class JobBus implements MessageBusInterface
{
    /** Why messages of the last dispatch have to fail, whatever their handlers have said of them. */
    public ?\Throwable $undone = null;

    /** @var array<int, Envelope> by number, as they were received */
    private array $received = [];

    public function __construct(private readonly MessageBusInterface $bus, private readonly JobBoundary $boundary)
    {
    }

    /** @param object $message */
    public function dispatch($message, array $stamps = []): Envelope
    {
        $envelope = Envelope::wrap($message, $stamps);
        $stamp = $envelope->last(DeliveryStamp::class);
        $number = $stamp instanceof DeliveryStamp ? $stamp->number : 0;
        // Messenger dispatches once more what a batch handler holds. It tells the results of all its batch handlers together.
        if (null === $envelope->last(FlushBatchHandlersStamp::class)) {
            $this->undone = null;
            $this->received[$number] = $envelope;
        }
        try {
            return $this->boundary->around(fn (): Envelope => $this->bus->dispatch($envelope));
        } catch (\Throwable $error) {
            if (!$this->boundary->hasUndone) {
                throw $error;
            }
            throw $this->undone = new HandlerFailedException($this->received[$number] ?? $envelope, Judge::causes($error));
        }
    }
}
