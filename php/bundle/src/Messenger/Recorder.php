<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\Messenger\Envelope;

/**
 * The deliveries that Messenger's worker has now. By it, the senders of Messenger's listeners know whether a message is one of them. It
 * must not be reset between two messages.
 *
 * @internal
 */
final class Recorder
{
    /** @var array<int, Delivery> */
    private array $deliveries = [];

    public function begin(Delivery $delivery): void
    {
        $this->deliveries[$delivery->number] = $delivery;
    }

    public function of(Envelope $envelope): ?Delivery
    {
        $stamp = $envelope->last(DeliveryStamp::class);

        return $stamp instanceof DeliveryStamp ? $this->deliveries[$stamp->number] ?? null : null;
    }

    /** @return list<Delivery> those that have begun since the last time, in their order */
    public function end(): array
    {
        $deliveries = array_values($this->deliveries);
        $this->deliveries = [];

        return $deliveries;
    }
}
