<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\DeferredEventBundle\Worker\JobBoundary;
use Fervo\DeferredEventBundle\Worker\Judge;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Exception\HandlerFailedException;
use Symfony\Component\Messenger\Handler\BatchHandlerInterface;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Component\Messenger\Stamp\FlushBatchHandlersStamp;
use Symfony\Component\Messenger\Stamp\NoAutoAckStamp;

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

    /** @var array<int, BatchHandlerInterface> by number: the batch handler that holds the message, and was not told to flush since */
    private array $holders = [];

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
        $isFlush = null !== $envelope->last(FlushBatchHandlersStamp::class);
        if ($isFlush) {
            $flushed = self::holderIn($envelope);
            $this->holders = array_filter($this->holders, static fn (BatchHandlerInterface $holder): bool => $holder !== $flushed);
        } else {
            $this->undone = null;
            $this->received[$number] = $envelope;
        }
        try {
            $handled = $this->boundary->around(fn (): Envelope => $this->bus->dispatch($envelope));
            if (!$isFlush && null !== $holder = self::holderIn($handled)) {
                $this->holders[$number] = $holder;
            }

            return $handled;
        } catch (\Throwable $error) {
            if (!$this->boundary->hasUndone) {
                throw $error;
            }
            throw $this->undone = new HandlerFailedException($this->received[$number] ?? $envelope, Judge::causes($error));
        }
    }

    /** Whether a batch handler holds the message, and Messenger's worker has never told it to flush. */
    public function isHeld(Delivery $delivery): bool
    {
        return isset($this->holders[$delivery->number]);
    }

    private static function holderIn(Envelope $envelope): ?BatchHandlerInterface
    {
        $stamp = $envelope->last(NoAutoAckStamp::class);

        return $stamp instanceof NoAutoAckStamp ? $stamp->getHandlerDescriptor()->getBatchHandler() : null;
    }
}
