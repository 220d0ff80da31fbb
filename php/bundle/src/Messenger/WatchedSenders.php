<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Psr\Container\ContainerInterface;
use Symfony\Component\Messenger\Transport\Sender\SenderInterface;

/**
 * The senders of Messenger's listeners for retries and for the failure transport: each sends as ever, and it is counted.
 *
 * @internal
 */
final class WatchedSenders implements ContainerInterface
{
    public function __construct(private readonly ContainerInterface $senders, private readonly SentCopies $copies)
    {
    }

    public function has(string $id): bool
    {
        return $this->senders->has($id);
    }

    public function get(string $id): SenderInterface
    {
        return new WatchedSender($this->senders->get($id), $this->copies);
    }
}
