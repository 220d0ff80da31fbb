<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\DeferredEventBundle\Worker\JobBoundary;
use Fervo\DeferredEventBundle\Worker\Judge;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Exception\HandlerFailedException;
use Symfony\Component\Messenger\MessageBusInterface;

/**
 * The bus for Messenger's worker and one message: an open transaction is rolled back, and fails the message, before Messenger
 * decides on it. So neither the copy for the next attempt nor the one for the failure transport is written into a transaction that
 * nobody commits.
 *
 * What was undone may be the work of a handler that had succeeded. Messenger would not call that one again, by the stamp that it
 * leaves in the envelope; so the message fails as it was received, and all handlers run again.
 *
 * @internal
 */
final class JobBus implements MessageBusInterface
{
    /** Why the message has to fail, whatever its handlers have said of it. */
    public ?\Throwable $undone = null;

    private ?Envelope $received = null;

    public function __construct(private readonly MessageBusInterface $bus, private readonly JobBoundary $boundary)
    {
    }

    /** @param object $message */
    public function dispatch($message, array $stamps = []): Envelope
    {
        // Messenger dispatches once more what a batch handler holds, with the stamps of the first time.
        $this->received ??= Envelope::wrap($message, $stamps);
        try {
            return $this->boundary->around(fn (): Envelope => $this->bus->dispatch($message, $stamps));
        } catch (\Throwable $error) {
            if (!$this->boundary->hasUndone) {
                throw $error;
            }
            throw $this->undone = new HandlerFailedException($this->received, Judge::causes($error));
        }
    }
}
