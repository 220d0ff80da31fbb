<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Transport\Sender\SenderInterface;

/** @internal */
final class WatchedSender implements SenderInterface
{
    public function __construct(private readonly SenderInterface $sender, private readonly SentCopies $copies)
    {
    }

    public function send(Envelope $envelope): Envelope
    {
        $envelope = $this->sender->send($envelope);
        $this->copies->sent();

        return $envelope;
    }
}
