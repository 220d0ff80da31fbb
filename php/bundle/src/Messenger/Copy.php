<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger;

use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Stamp\DelayStamp;

/**
 * A message for its broker, byte for byte.
 *
 * @internal
 */
final class Copy
{
    /** @param array<string, string> $headers */
    private function __construct(
        public readonly string $body,
        public readonly array $headers,
        public readonly int $delayMs,
    ) {
    }

    /** @param array<string, string> $headers */
    public static function of(Envelope $envelope, string $body, array $headers = []): self
    {
        $delay = $envelope->last(DelayStamp::class);

        return new self($body, $headers, $delay instanceof DelayStamp ? $delay->getDelay() : 0);
    }
}
