<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Transport\Receiver\ReceiverInterface;
use Symfony\Component\Messenger\Worker;

/**
 * Hands deliveries of one transport to Messenger's worker, one after the other, and ends it behind the last one: it flushes what batch
 * handlers hold, and neither sleeps nor comes again.
 *
 * @internal
 */
final class Deliveries implements ReceiverInterface
{
    public ?Worker $worker = null;

    private Delivery $last;

    /**
     * @param \Iterator<Delivery>      $source of which the current one is the first
     * @param \Closure(Delivery): void $settle called as soon as a delivery's end is certain
     */
    public function __construct(
        private readonly \Iterator $source,
        private readonly Recorder $recorder,
        private readonly JobBus $bus,
        private readonly \Closure $settle,
    ) {
    }

    /** @return \Generator<int, Envelope> */
    public function get(): iterable
    {
        $transport = $this->source->current()->transport;
        for (; $this->source->valid() && $transport === $this->source->current()->transport; $this->source->next()) {
            $this->last = $this->source->current();
            $this->last->isGiven = true;
            $this->recorder->begin($this->last);
            yield $this->last->envelope;
        }
        $this->worker?->stop();
    }

    public function ack(Envelope $envelope): void
    {
        $delivery = $this->of($envelope);
        $delivery->isAcknowledged = true;
        $delivery->undone = $this->bus->undone;
        ($this->settle)($delivery);
    }

    public function reject(Envelope $envelope): void
    {
        $delivery = $this->of($envelope);
        $delivery->isRejected = true;
        // Of a message that its broker has delivered twice, Messenger tells its listeners only after this.
        if (null !== $delivery->error) {
            ($this->settle)($delivery);
        }
    }

    private function of(Envelope $envelope): Delivery
    {
        // A listener of the application may have made an envelope without our stamp: then it is the one that was given last.
        return $this->recorder->of($envelope) ?? $this->last;
    }
}
