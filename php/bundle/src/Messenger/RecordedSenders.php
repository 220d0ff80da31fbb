<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Psr\Container\ContainerInterface;
use Symfony\Component\Messenger\Transport\Sender\SenderInterface;

/**
 * The senders of one of Messenger's listeners, for retries or for failure transports. The messages of "messenger:consume" and of the
 * application itself pass.
 *
 * @internal
 */
final class RecordedSenders implements ContainerInterface
{
    /** @param bool $isForRetries copies for the next attempt are kept, because fervo-worker puts them into the queue; others are sent */
    public function __construct(
        private readonly ContainerInterface $senders,
        private readonly Recorder $recorder,
        private readonly bool $isForRetries,
    ) {
    }

    public function has(string $id): bool
    {
        return $this->senders->has($id);
    }

    public function get(string $id): SenderInterface
    {
        return new RecordedSender(new Sender($this->senders, $id), $this->recorder, $this->isForRetries);
    }
}
