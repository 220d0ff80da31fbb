<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Exception\HandlerFailedException;
use Symfony\Component\Messenger\MessageBusInterface;

/**
 * The bus for a message whose process has died: it calls no handler, and fails as a handler would have.
 *
 * @internal
 */
final class DeadJobBus implements MessageBusInterface
{
    public function __construct(private readonly JobCrashed $crash)
    {
    }

    /** @param object $message */
    public function dispatch($message, array $stamps = []): Envelope
    {
        throw new HandlerFailedException(Envelope::wrap($message, $stamps), [$this->crash]);
    }
}
