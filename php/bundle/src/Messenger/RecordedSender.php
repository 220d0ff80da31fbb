<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Transport\Sender\SenderInterface;

/**
 * Keeps the copy for the next attempt, or sends the message and notes that: what became of a message is seen, and is not concluded from
 * the configuration.
 *
 * @internal
 */
final class RecordedSender implements SenderInterface
{
    public function __construct(
        private readonly Sender $sender,
        private readonly Recorder $recorder,
        private readonly bool $isForRetries,
    ) {
    }

    public function send(Envelope $envelope): Envelope
    {
        $delivery = $this->recorder->of($envelope);
        if (null === $delivery) {
            return $this->sender->send($envelope);
        }
        if ($this->isForRetries && null !== $copy = ($delivery->copying)($envelope, $this->sender)) {
            $delivery->copy = $copy;

            return $envelope;
        }
        $envelope = $this->sender->send($envelope);
        $delivery->isSent = true;

        return $envelope;
    }
}
