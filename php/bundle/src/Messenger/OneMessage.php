<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Transport\Receiver\ReceiverInterface;
use Symfony\Component\Messenger\Worker;

/**
 * Hands one message to Messenger's worker, ends it, and remembers what it said of the message.
 *
 * @internal
 */
final class OneMessage implements ReceiverInterface
{
    public bool $isGiven = false;
    public bool $isAcknowledged = false;
    public bool $isRejected = false;

    private ?Worker $worker = null;

    public function __construct(private readonly Envelope $envelope)
    {
    }

    public function endsWith(Worker $worker): void
    {
        $this->worker = $worker;
    }

    /** @return \Generator<int, Envelope> */
    public function get(): iterable
    {
        $this->isGiven = true;
        yield $this->envelope;
        // Behind the last one: the worker flushes what batch handlers hold, and does not come again for more.
        $this->worker?->stop();
    }

    public function ack(Envelope $envelope): void
    {
        $this->isAcknowledged = true;
    }

    public function reject(Envelope $envelope): void
    {
        $this->isRejected = true;
    }
}
