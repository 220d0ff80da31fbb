<?php

declare(strict_types=1);

namespace App\Messenger;

use App\Message\Message;
use Psr\Container\ContainerInterface;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Transport\Sender\SendersLocatorInterface;

/** Sends a message by the transport that it names: what TransportNamesStamp does, which Symfony 5.4 does not have. */
final class SendersByMessage implements SendersLocatorInterface
{
    /** @param ContainerInterface $senders by transport; as in Symfony's own locator, one is made when it has something to send */
    public function __construct(private readonly ContainerInterface $senders)
    {
    }

    public function getSenders(Envelope $envelope): iterable
    {
        $message = $envelope->getMessage();
        if ($message instanceof Message) {
            yield $message->transport => $this->senders->get($message->transport);
        }
    }
}
