<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\Runner\Job;
use Symfony\Component\Messenger\Envelope;

/**
 * A message that fervo-worker has brought, and what Messenger's worker and its listeners have said of it so far.
 *
 * @internal
 */
final class Delivery
{
    private static int $last = 0;

    public readonly int $number;
    public readonly Envelope $envelope;

    public bool $isGiven = false;
    public bool $isVetoed = false;
    public bool $isAcknowledged = false;
    public bool $isRejected = false;
    public bool $willRetry = false;
    public bool $isSettled = false;
    /** A batch handler holds it, and was never told to flush. */
    public bool $isHeld = false;

    /** Messenger has sent a copy: to the failure transport, or where the worker cannot put it into the queue for us. */
    public bool $isSent = false;
    /** The copy for the next attempt, which takes this message's place. */
    public ?Copy $copy = null;
    /** What Messenger's listeners were told. */
    public ?\Throwable $error = null;
    /** Why what its handlers have done was undone, after a batch handler had acknowledged it. */
    public ?\Throwable $undone = null;

    /** @param \Closure(Envelope, Sender): ?Copy $copying makes the copy for the next attempt; null = Messenger has to send it */
    public function __construct(
        public readonly Job $job,
        public readonly string $transport,
        Envelope $envelope,
        public readonly \Closure $copying,
    ) {
        $this->number = ++self::$last;
        $this->envelope = $envelope->with(new DeliveryStamp($this->number));
    }

    /** @return class-string */
    public function class(): string
    {
        return $this->envelope->getMessage()::class;
    }
}
