<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Fervo\DeferredEventBundle\Worker\JobBoundary;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\MessageBusInterface;

/**
 * The bus for Messenger's worker: an open transaction is rolled back, and fails the message, before Messenger decides on it. So
 * neither the copy for the next try nor the one for the failure transport is written into a transaction that nobody commits.
 *
 * @internal
 */
final class JobBus implements MessageBusInterface
{
    public function __construct(private readonly MessageBusInterface $bus, private readonly JobBoundary $boundary)
    {
    }

    /** @param object $message */
    public function dispatch($message, array $stamps = []): Envelope
    {
        return $this->boundary->around(fn (): Envelope => $this->bus->dispatch($message, $stamps));
    }
}
