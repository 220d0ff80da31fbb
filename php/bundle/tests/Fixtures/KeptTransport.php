<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Fixtures;

use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Exception\TransportException;
use Symfony\Component\Messenger\Stamp\TransportMessageIdStamp;
use Symfony\Component\Messenger\Transport\Receiver\ListableReceiverInterface;
use Symfony\Component\Messenger\Transport\TransportInterface;

/** A transport that keeps what it is sent, also when services are reset; as broken:// one that cannot be reached. */
final class KeptTransport implements TransportInterface, ListableReceiverInterface
{
    /** @var array<int, Envelope> */
    private array $kept = [];

    public function __construct(private readonly bool $isBroken)
    {
    }

    public function send(Envelope $envelope): Envelope
    {
        if ($this->isBroken) {
            throw new TransportException('It is broken');
        }

        $id = \count($this->kept) + 1;

        return $this->kept[$id] = $envelope->withoutAll(TransportMessageIdStamp::class)->with(new TransportMessageIdStamp($id));
    }

    /** @return list<Envelope> */
    public function get(): iterable
    {
        return array_values($this->kept);
    }

    public function all(?int $limit = null): iterable
    {
        return $this->kept;
    }

    public function find($id): ?Envelope
    {
        return $this->kept[$id] ?? null;
    }

    public function ack(Envelope $envelope): void
    {
        unset($this->kept[$envelope->last(TransportMessageIdStamp::class)?->getId()]);
    }

    public function reject(Envelope $envelope): void
    {
        $this->ack($envelope);
    }
}
