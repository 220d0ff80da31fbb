<?php

declare(strict_types=1);

namespace App\Messenger;

use App\Message\Message;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Transport\Sender\SenderInterface;
use Symfony\Component\Messenger\Transport\Sender\SendersLocatorInterface;

/** Sends a message by the transport that it names: what TransportNamesStamp does, which Symfony 5.4 does not have. */
final class SendersByMessage implements SendersLocatorInterface
{
    /** @param array<string, SenderInterface> $senders by transport */
    public function __construct(private readonly array $senders)
    {
    }

    public function getSenders(Envelope $envelope): iterable
    {
        $message = $envelope->getMessage();
        if ($message instanceof Message) {
            yield $message->transport => $this->senders[$message->transport];
        }
    }
}
